"""SmolLM2 under eight streams: alone, with n-grams, and with a draft model that is replaced while they run.

It runs the worker's engine itself, without a cluster around it: what a cluster does with speculators does not depend on
vLLM, and has tests of its own.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count, zip_longest
from pathlib import Path
from random import Random

from services.shared.clock import SystemClock
from services.shared.engine_settings import Draft, Ngram, Speculation, VllmEngine
from services.shared.manifests import File, Manifest, Speculates, digest_of_files, make
from services.worker.engine.build import build_engine
from services.worker.engine.contract import (
    ChatPrompt,
    Delta,
    Drafter,
    Engine,
    EngineRequest,
    Model,
    Sampling,
)
from tests.robustness.speculators import drafter
from tests.robustness.speculators.prompts import HELD_OUT, LEARNT, questions
from tests.support.wait import wait_until

STREAMS = 8
ANSWER_TOKENS = 64
DRAFT_TOKENS = 3
LAYERS = 2
ROUNDS = 3
"""How often the questions are asked of an engine that switches drafts, until it has found out what pays."""
_NUMBERS = count()


@dataclass(frozen=True, slots=True)
class Figures:
    """What one part of the drill saw.

    Attributes:
        answers: The token ids of each question's answer.
        seconds: That they took together.
        accepted: Part of the draft tokens of each position that was accepted.
    """

    name: str
    answers: dict[str, tuple[int, ...]]
    seconds: float
    accepted: tuple[float, ...]

    @property
    def speed(self) -> float:
        """Tokens per second of all streams together."""
        return sum(map(len, self.answers.values())) / self.seconds

    def row(self) -> str:
        """A row of the table in docs/performance.md."""
        positions = " / ".join(f"{part:.0%}" for part in self.accepted) or "-"
        return f"| {self.name} | {positions} | {self.speed:.0f} |"


@dataclass(slots=True)
class Seen:
    """All parts. `swap_s`: how long the speculator was replaced."""

    figures: list[Figures] = field(default_factory=list)
    swap_s: float = 0.0

    def wrong(self) -> Iterator[str]:
        """What must not be; nothing, if all is well."""
        plain = self.figures[0].answers
        for part in self.figures[1:]:
            for question, answer in part.answers.items():
                if answer != plain[question]:
                    yield f"{part.name}: the answer to {question!r} is another one than without drafts"
        before, after, fresh = (self._accepted(name) for name in ("before", "after", "fresh"))
        if not before < after:
            yield f"the better draft model is not accepted more often: {after:.2f} after {before:.2f}"
        if abs(after - fresh) > 0.02:
            yield f"after the swap {after:.3f} of the first tokens are accepted, after a fresh start {fresh:.3f}"

    def _accepted(self, name: str) -> float:
        return next(part.accepted[0] for part in self.figures if part.name.startswith(name))


def make_drafters(folder: Path, target: Path, *, seconds: float, seed: int) -> tuple[Path, Path]:
    """Trains two draft models on the target's answers: one for a fifth of the time, and the same one to its end."""
    asked = questions(LEARNT)
    Random(seed).shuffle(asked)
    examples = drafter.answers(target, asked, seconds=seconds / 2)
    model, made = drafter.untrained(target, LAYERS), []
    for name, part in (("early", 0.2), ("late", 0.8)):
        for _ in drafter.train(model, examples, seconds=seconds * part, seed=seed):
            pass
        made.append(drafter.save(model, target, folder / name))
    return made[0], made[1]


async def run(
    folder: Path,
    target: Path,
    drafters: tuple[Path, Path],
    *,
    questions_each: int,
    seed: int,
    tell: Callable[[str], None],
) -> Seen:
    """Runs the drill in an empty folder; each part asks the same questions. `tell` gets a row for each part."""
    asked = questions(HELD_OUT)
    Random(seed).shuffle(asked)
    asked, seen = asked[:questions_each], Seen()
    plain = _staged(folder, target, _manifest("smollm2", target))
    early, late = (_drafter(folder, plain.manifest, made) for made in drafters)
    drafting = Draft(method="draft_model", model="draft", adaptive=False)
    ngrams = Ngram(method="ngram", tokens=DRAFT_TOKENS, adaptive=False)

    def add(figures: Figures) -> None:
        seen.figures.append(figures)
        tell(figures.row())

    async with _running(plain, None) as engine:
        add(await _measure(engine, "none", asked))
    async with _running(plain, drafting, early) as engine:
        add(await _measure(engine, "before: draft model, trained little", asked))
        during, seen.swap_s = await _swap(engine, late, asked)
        add(during)
        add(await _measure(engine, "after: draft model, trained longer", asked))
    async with _running(plain, drafting, late) as engine:
        add(await _measure(engine, "fresh start with the second draft model", asked))
    async with _running(plain, ngrams) as engine:
        add(await _measure(engine, "n-grams", asked))
    for name, speculation in (("draft model", drafting), ("n-grams", ngrams)):
        async with _running(plain, speculation.model_copy(update={"adaptive": True}), late) as engine:
            for _ in range(ROUNDS - 1):
                await _ask(engine, asked)
            add(await _measure(engine, f"{name}, adaptive", asked))
    return seen


async def _swap(engine: Engine, to: Drafter, asked: Sequence[str]) -> tuple[Figures, float]:
    """Replaces the draft model while the streams run. Returns what they saw, and the seconds of the swap."""
    running = asyncio.create_task(_measure(engine, "while it is replaced", asked))
    await wait_until(lambda: engine.load().running == STREAMS, description="the streams run", timeout=60)
    began = time.monotonic()
    await engine.swap_draft(to)
    seconds = time.monotonic() - began
    return await running, seconds


@asynccontextmanager
async def _running(
    model: Model, speculation: Speculation | None, draft: Drafter | None = None
) -> AsyncIterator[Engine]:
    engine = await _started(model, speculation, draft)
    try:
        yield engine
    finally:
        await engine.stop()


async def _started(model: Model, speculation: Speculation | None, draft: Drafter | None = None) -> Engine:
    config = VllmEngine(
        dtype="float32", context_tokens=256, kv_memory_gib=0.3, max_running=STREAMS, speculation=speculation
    )
    engine = build_engine(config, SystemClock())
    await engine.start(Model(model.folder, model.manifest, draft if isinstance(speculation, Draft) else None))
    return engine


async def _measure(engine: Engine, name: str, asked: Sequence[str]) -> Figures:
    before, began = engine.load(), time.monotonic()
    answers = await _ask(engine, asked)
    seconds, after = time.monotonic() - began, engine.load()
    drafted, accepted = (
        [now - then for now, then in zip_longest(later, earlier, fillvalue=0)]
        for later, earlier in ((after.drafted, before.drafted), (after.accepted, before.accepted))
    )
    shares = tuple(part / whole if whole else 0.0 for part, whole in zip(accepted, drafted, strict=True))
    return Figures(name, answers, seconds, shares)


async def _ask(engine: Engine, asked: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Asks with STREAMS streams at a time."""
    waiting, answers = list(reversed(asked)), dict[str, tuple[int, ...]]()

    async def stream() -> None:
        while waiting:
            question = waiting.pop()
            answers[question] = await _answer(engine, question)

    await asyncio.gather(*(stream() for _ in range(STREAMS)))
    return answers


async def _answer(engine: Engine, question: str) -> tuple[int, ...]:
    sampling = Sampling(max_tokens=ANSWER_TOKENS, temperature=0.0, ignore_eos=True)
    prompt = ChatPrompt([{"role": "user", "content": question}])
    async with aclosing(engine.generate(EngineRequest(f"drill-{next(_NUMBERS)}", prompt, sampling))) as events:
        return tuple([token async for event in events if isinstance(event, Delta) for token in event.token_ids])


def _staged(folder: Path, files: Path, manifest: Manifest) -> Model:
    """A folder by the name of the version, as the worker's cache has it."""
    staged = folder / manifest.version
    staged.symlink_to(files.resolve())
    return Model(staged, manifest)


def _drafter(folder: Path, target: Manifest, files: Path) -> Drafter:
    speculates = Speculates(
        target=f"{target.model}@{target.version}",
        vocab_size=target.vocab_size,
        tokenizer_sha256=target.tokenizer_sha256,
        method="draft_model",
        tokens=DRAFT_TOKENS,
    )
    staged = _staged(folder, files, _manifest("draft", files, speculates))
    return Drafter(staged.folder, staged.manifest)


def _manifest(name: str, files: Path, speculates: Speculates | None = None) -> Manifest:
    from trainer.publish import file_of

    weights = (file_of(files / "model.safetensors", "model.safetensors"),)
    tokenizer: tuple[File, ...] = (file_of(files / "tokenizer.json", "tokenizer.json"),)
    return make(
        model=name,
        kind="speculator" if speculates else "model",
        speculates=speculates,
        created=1,
        architecture="LlamaForCausalLM",
        context_tokens=8192,
        vocab_size=49152,
        files=(*weights, *tokenizer),
        weights_sha256=digest_of_files(weights),
        tokenizer_sha256=digest_of_files(tokenizer),
        source="a drill",
    )
