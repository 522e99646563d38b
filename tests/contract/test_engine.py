"""What every engine must do, run on each one: the simulated engine, and vLLM with a real model."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
import pytest_asyncio
import torch
from safetensors.torch import load_file, save_file

from services.shared.clock import SystemClock
from services.shared.engine_settings import Ngram, VllmEngine
from services.shared.engine_settings import SimulatedEngine as SimulatedConfig
from services.shared.manifests import Golden
from services.shared.staging import RefusedModel
from services.worker.engine.build import build_engine
from services.worker.engine.contract import (
    ChatPrompt,
    ContextTooLong,
    Delta,
    Ended,
    Engine,
    EngineDead,
    EngineRequest,
    Event,
    InvalidPrompt,
    Model,
    ResumePoint,
    Sampling,
    Started,
    SwapFailed,
    TextPrompt,
    TokenPrompt,
)
from services.worker.engine.speculation_switch import SpeculationSwitch
from services.worker.golden import NotProven, prove
from tests.contract.cuts import cut, deltas, points, whole
from tests.contract.resumption import Case, Resumption, resume_everywhere
from tests.support.wait import wait_until
from tests.unit.worker.models import FREE, manifest_of, simulated_model
from trainer.sources.packaged import KEY_WORD, QUESTION

# vLLM and what it imports warn of their own affairs.
VLLM = [pytest.mark.vllm, pytest.mark.timeout(900), pytest.mark.filterwarnings("default")]
CONTEXT = 512
BLOCK_TOKENS = 64
"""Not what vLLM takes by itself on a CPU, 128."""
EMBEDDING = "model.embed_tokens.weight"
GREEDY = {"temperature": 0.0, "ignore_eos": True}
LENGTH = 24
"""Tokens of the plain answer. It is the beginning of longer ones, and shorter ones are its beginning."""
PAIR_LENGTH = 40
PROMPT = TextPrompt("The tide comes in and the tide goes out, and the tide comes in")


@pytest.fixture(
    scope="module",
    params=["simulated", pytest.param("vllm", marks=VLLM)],
)
def model(request: pytest.FixtureRequest) -> Model:
    if request.param == "simulated":
        return simulated_model()
    folder: Path = request.getfixturevalue("smollm2_folder")
    return Model(folder, manifest_of({"model.safetensors": b""}, model="smollm2"))


@pytest.fixture(scope="module")
def other_model(model: Model, request: pytest.FixtureRequest) -> Model:
    """Other weights for the same engine."""
    if model.manifest.model == "smollm2":
        folder: Path = request.getfixturevalue("other_smollm2_folder")
        return Model(folder, manifest_of({"model.safetensors": b"other"}, model="smollm2"))
    return simulated_model(b"other")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(model: Model) -> AsyncIterator[Engine]:
    """One for all tests of a kind, so each must leave it idle. float32: continuing is exact."""
    config: SimulatedConfig | VllmEngine = SimulatedConfig.model_validate({"context_tokens": CONTEXT, **FREE})
    if model.manifest.model == "smollm2":
        config = VllmEngine(
            context_tokens=CONTEXT,
            dtype="float32",
            kv_memory_gib=0.25,
            speculation=Ngram(method="ngram", tokens=2),
            args={"block_size": BLOCK_TOKENS},
        )
    engine = build_engine(config, SystemClock())
    await engine.start(model)
    yield engine
    await engine.stop()
    assert engine.death
    with pytest.raises(EngineDead):
        await collect(engine, EngineRequest("late", PROMPT))


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def collect(engine: Engine, request: EngineRequest) -> list[Event]:
    async with aclosing(engine.generate(request)) as events:
        return [event async for event in events]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plain(engine: Engine) -> list[Event]:
    """What the engine says without further parameters: LENGTH tokens."""
    return await collect(engine, request("plain", max_tokens=LENGTH))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(engine: Engine) -> list[Event]:
    """Two choices of PAIR_LENGTH tokens each."""
    return await collect(engine, request("pair", max_tokens=PAIR_LENGTH, n=2))


def request(name: str, prompt: object = PROMPT, **sampling: object) -> EngineRequest:
    return EngineRequest(name, prompt, Sampling(**(GREEDY | sampling)))  # type: ignore[arg-type]


def tokens(events: list[Event], choice: int = 0) -> list[int]:
    return [token for event in deltas(events, choice) for token in event.token_ids]


def text(events: list[Event], choice: int = 0) -> str:
    return "".join(event.text for event in deltas(events, choice))


async def test_greedy_answers_are_the_same_each_time(engine: Engine, plain: list[Event]) -> None:
    again = await collect(engine, request("again", max_tokens=LENGTH))
    assert tokens(again) == tokens(plain)
    assert text(again) == text(plain) != ""


async def test_an_answer_starts_once_and_ends_once_with_its_usage(engine: Engine) -> None:
    events = await collect(engine, request("usage", max_tokens=9))
    assert [type(event) for event in events if not isinstance(event, Delta)] == [Started, Ended]
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Ended)
    assert events[-1].usage.completion_tokens == len(tokens(events)) == 9
    assert events[-1].usage.prompt_tokens == events[0].prompt_tokens > 0
    assert deltas(events)[-1].finish_reason == "length"


async def test_a_stop_string_ends_the_answer_and_is_left_out(engine: Engine, plain: list[Event]) -> None:
    said = text(plain)
    stop = said.split()[5]
    stopped = await collect(engine, request("stopped", max_tokens=LENGTH, stop=(stop,)))
    assert text(stopped) == said[: said.index(stop)]
    assert (deltas(stopped)[-1].finish_reason, deltas(stopped)[-1].stop_reason) == ("stop", stop)


async def test_a_stop_string_or_token_may_be_shown(engine: Engine, plain: list[Event]) -> None:
    stop, token = text(plain).split()[5], tokens(plain)[9]
    shown = await collect(engine, request("string", max_tokens=LENGTH, stop=(stop,), include_stop=True))
    assert text(shown) == text(plain)[: text(plain).index(stop) + len(stop)]
    shown = await collect(engine, request("token", max_tokens=LENGTH, stop_token_ids=(token,), include_stop=True))
    assert text(plain).startswith(text(shown))
    assert (deltas(shown)[-1].finish_reason, deltas(shown)[-1].stop_reason) == ("stop", token)


async def test_only_allowed_tokens_are_generated(engine: Engine) -> None:
    events = await collect(engine, request("allowed", max_tokens=12, allowed_token_ids=(300, 301, 302)))
    assert set(tokens(events)) <= {300, 301, 302}
    with pytest.raises(InvalidPrompt) as refused:
        await collect(engine, request("unknown", max_tokens=1, allowed_token_ids=(10_000_000,)))
    assert refused.value.param == "allowed_token_ids"


async def test_bad_words_are_not_generated(engine: Engine, plain: list[Event]) -> None:
    words = text(plain).split()
    events = await collect(engine, request("bad words", max_tokens=12, bad_words=(words[1], words[2])))
    assert words[1] not in text(events).split()


async def test_a_prompt_shows_its_tokens_and_their_log_probabilities(engine: Engine) -> None:
    asked = request("prompt", max_tokens=2, return_prompt_token_ids=True, prompt_logprobs=1)
    started = (await collect(engine, asked))[0]
    assert isinstance(started, Started)
    assert list(started.prompt_token_ids) == await engine.tokenize(PROMPT)
    entries = started.prompt_logprobs
    assert [entry.token_id for entry in entries] == list(started.prompt_token_ids)
    assert b"".join(entry.token for entry in entries).decode() == PROMPT.text
    assert not entries[0].top
    assert all(entry.logprob <= 0 and entry.rank >= 1 and len(entry.top) == 1 for entry in entries[1:])


async def test_a_prompt_may_be_asked_for_alone(engine: Engine) -> None:
    events = await collect(engine, request("nothing", max_tokens=0, echo=True, prompt_logprobs=0))
    assert (tokens(events), text(events)) == ([], PROMPT.text)
    assert deltas(events)[-1].finish_reason == "length"
    assert isinstance(events[0], Started)
    assert len(events[0].prompt_logprobs) == events[0].prompt_tokens
    assert isinstance(events[-1], Ended)
    assert events[-1].usage.completion_tokens == 0


async def test_a_prompt_alone_may_fill_the_context(engine: Engine) -> None:
    words = tuple(await engine.tokenize(PROMPT))
    full = TokenPrompt((words * CONTEXT)[:CONTEXT])
    whole = await collect(engine, request("full", full, max_tokens=0, echo=True, prompt_logprobs=1))
    assert isinstance(whole[0], Started)
    assert [entry.token_id for entry in whole[0].prompt_logprobs] == list(full.ids)
    assert whole[0].prompt_logprobs[-1].rank >= 1
    assert (tokens(whole), whole[0].prompt_tokens) == ([], CONTEXT)
    with pytest.raises(ContextTooLong):
        await collect(engine, request("fuller", full, max_tokens=1))


async def test_a_limit_that_may_shrink_is_what_the_context_leaves(engine: Engine) -> None:
    words = tuple(await engine.tokenize(PROMPT))
    long = TokenPrompt((words * CONTEXT)[: CONTEXT - 6])
    events = await collect(engine, request("shrinks", long, max_tokens=10 * CONTEXT, max_tokens_may_shrink=True))
    assert len(tokens(events)) == 6
    assert deltas(events)[-1].finish_reason == "length"


async def test_a_prompt_may_be_truncated_at_either_end(engine: Engine) -> None:
    whole = await engine.tokenize(PROMPT)

    async def read(prompt: object, **sampling: object) -> list[int]:
        asked = request("truncated", prompt, return_prompt_token_ids=True, **{"max_tokens": 2, **sampling})
        (started, *_) = await collect(engine, asked)
        assert isinstance(started, Started)
        return list(started.prompt_token_ids)

    for prompt in (PROMPT, TokenPrompt(tuple(whole))):
        assert await read(prompt, truncate_prompt_tokens=5) == whole[-5:]
        assert await read(prompt, truncate_prompt_tokens=5, keep_prompt_start=True) == whole[:5]
        assert await read(prompt, truncate_prompt_tokens=-1) == whole
    long = TextPrompt(PROMPT.text * 60)
    assert len(await read(long, truncate_prompt_tokens=-1, max_tokens=12)) == CONTEXT - 12
    assert len(await read(long, truncate_prompt_tokens=-1, max_tokens=None)) == CONTEXT - 1
    with pytest.raises(InvalidPrompt) as refused:
        await read(long, truncate_prompt_tokens=CONTEXT + 1)
    assert refused.value.param == "truncate_prompt_tokens"


async def test_a_model_without_tokens_for_it_refuses_a_suffix(engine: Engine) -> None:
    with pytest.raises(InvalidPrompt) as refused:
        await collect(engine, request("suffix", max_tokens=2, suffix="and out"))
    assert refused.value.param == "suffix"


async def test_the_tokenizer_describes_itself(engine: Engine) -> None:
    config = engine.tokenizer_config()
    assert config["tokenizer_class"]
    assert "eos_token" in config
    assert not any("/" in str(value) and Path(str(value)).is_absolute() for value in config.values())


async def test_every_choice_has_its_own_ending(engine: Engine) -> None:
    events = await collect(engine, request("n", n=3, max_tokens=6, temperature=1.0, seed=7))
    for choice in range(3):
        assert len(tokens(events, choice)) == 6
        assert [delta.finish_reason for delta in deltas(events, choice)].count("length") == 1
    assert len({tuple(tokens(events, choice)) for choice in range(3)}) > 1


async def test_log_probabilities_belong_to_the_tokens(engine: Engine) -> None:
    events = await collect(engine, request("logprobs", max_tokens=5, top_logprobs=2))
    entries = [entry for delta in deltas(events) for entry in delta.logprobs]
    assert [entry.token_id for entry in entries] == tokens(events)
    assert all(len(entry.top) == 2 and entry.logprob <= 0 for entry in entries)
    assert b"".join(entry.token for entry in entries).decode() == text(events)


async def test_log_probabilities_of_parts_of_characters_have_their_own_bytes(engine: Engine) -> None:
    """A model repeats characters of several tokens each, side by side."""
    prompt = TextPrompt("\U0001f30a\U0001f389\U0001f30a\U0001f389" * 8)
    events = await collect(engine, request("parts", prompt, max_tokens=24, top_logprobs=2))
    entries = [entry for delta in deltas(events) for entry in delta.logprobs]
    assert all(entry.token for entry in entries)
    said = b"".join(entry.token for entry in entries)
    assert b"\xef\xbf\xbd" not in said
    # A small model may break off a character: its text then has a replacement character, or nothing at the very end.
    assert said.decode(errors="ignore") == text(events).replace("\ufffd", "")


async def test_echo_puts_the_prompt_before_the_answer(engine: Engine) -> None:
    plain = await collect(engine, request("plain", max_tokens=4))
    echoed = await collect(engine, request("echoed", max_tokens=4, echo=True))
    assert text(echoed) == PROMPT.text + text(plain)
    assert tokens(echoed) == tokens(plain)


async def test_a_chat_may_end_open(engine: Engine) -> None:
    messages = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "The"}]
    usual, bare, open_ended = [
        await engine.tokenize(prompt)
        for prompt in (
            ChatPrompt(messages),
            ChatPrompt(messages, add_generation_prompt=False),
            ChatPrompt(messages, add_generation_prompt=False, continue_final_message=True),
        )
    ]
    assert usual[: len(bare)] == bare
    assert len(usual) > len(bare) > len(open_ended)
    assert (await engine.detokenize(open_ended)).endswith("The")
    assert len(engine.token_strs(bare)) == len(bare)


async def test_chat_is_rendered(engine: Engine) -> None:
    chat = ChatPrompt([{"role": "user", "content": QUESTION}])
    events = await collect(engine, EngineRequest("chat", chat, Sampling(temperature=0, max_tokens=64)))
    assert text(events)
    if engine.info.architecture != "Simulated" and engine.info.vocab_size > 40_000:
        assert KEY_WORD in text(events)


def is_simulated(engine: Engine) -> bool:
    return engine.info.vocab_size < 40_000


def _with(**sampling: object) -> Case:
    return Case(PROMPT, {"max_tokens": LENGTH} | sampling)


JAPANESE = TextPrompt("\u65e5\u672c\u8a9e " * 12)
"""Characters of several tokens each."""
# Requests whose answers are resumed, given what the model says to PROMPT without further parameters.
RESUMABLE: dict[str, Callable[[list[Event]], Case]] = {
    "greedy": lambda said: _with(),
    "stop string that begins and ends within words": lambda said: _with(stop=(text(said)[len(text(said)) // 2 :][:9],)),
    "stop string after min_tokens": lambda said: _with(stop=(" ",), min_tokens=LENGTH // 2),
    "stop string that never comes": lambda said: _with(stop=("~" * 40,)),
    "stop token": lambda said: _with(stop_token_ids=(tokens(said)[LENGTH // 2],)),
    "repetition penalty": lambda said: _with(repetition_penalty=1.3),
    "logit bias": lambda said: _with(logit_bias={400: 3.0}),
    "choices": lambda said: _with(n=2),
    "log probabilities": lambda said: _with(top_logprobs=2),
    "seed, greedily": lambda said: _with(seed=3),
    "echo, which is not repeated": lambda said: replace(_with(echo=True), torn=False),
    "half characters": lambda said: Case(JAPANESE, {"max_tokens": LENGTH}),
    "half characters and stop strings": lambda said: Case(
        JAPANESE, {"max_tokens": LENGTH, "stop": ("\u672c\u8a9e~", "~~")}
    ),
    "chat up to its own end": lambda said: Case(
        ChatPrompt([{"role": "user", "content": QUESTION}]), {"max_tokens": 300, "ignore_eos": False}
    ),
}
ONLY_SIMULATED = {"logit bias"}
"""vLLM has none beside speculative decoding."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def resumptions(engine: Engine, plain: list[Event]) -> dict[str, asyncio.Task[Resumption]]:
    """All cases at the same time: a step costs a model about the same for one request as for many.

    Each test looks at its own case, so that a failure names it.
    """
    simulated = is_simulated(engine)
    running = {
        name: asyncio.create_task(resume_everywhere(engine, name, case(plain), every_cut=simulated))
        for name, case in RESUMABLE.items()
        if simulated or name not in ONLY_SIMULATED
    }
    await asyncio.wait(running.values())
    return running


@pytest.mark.parametrize("name", RESUMABLE)
async def test_an_answer_resumes_wherever_it_was_cut(
    engine: Engine, resumptions: dict[str, asyncio.Task[Resumption]], name: str
) -> None:
    if name in ONLY_SIMULATED and not is_simulated(engine):
        pytest.skip("vLLM has no logit_bias beside speculative decoding")
    resumptions[name].result().check()


@pytest.mark.parametrize(
    "parameters",
    [{"presence_penalty": 0.5}, {"frequency_penalty": 0.5}, {"seed": 7, "temperature": 1.0}],
    ids=["presence", "frequency", "seed"],
)
async def test_what_cannot_be_resumed_says_so_first_and_is_refused_later(
    engine: Engine, parameters: dict[str, Any]
) -> None:
    events = await collect(engine, request("asked", max_tokens=4, **parameters))
    assert isinstance(events[0], Started)
    resumed = replace(request("resumed", max_tokens=4, **parameters), resume=points(cut(events, 1, torn=False)))
    if events[0].resumable:
        assert is_simulated(engine)
        assert await collect(engine, resumed)
        return
    with pytest.raises(InvalidPrompt, match="cannot be resumed"):
        await collect(engine, resumed)


async def test_only_unfinished_choices_resume(engine: Engine) -> None:
    done = {0: ResumePoint((300, 301), 8, finished=True)}
    sampling = Sampling(n=2, max_tokens=4, **GREEDY)  # type: ignore[arg-type]
    events = await collect(engine, EngineRequest("half", PROMPT, sampling, resume=done))
    assert not deltas(events, 0)
    assert len(tokens(events, 1)) == 4


async def test_closing_early_frees_the_engine(engine: Engine) -> None:
    async with aclosing(engine.generate(request("left", max_tokens=400))) as events:
        async for event in events:
            if isinstance(event, Delta):
                break
        assert engine.load().running == 1
    await wait_until(lambda: engine.load().running + engine.load().waiting == 0, description="nothing runs")
    await collect(engine, request("after", max_tokens=1))
    await wait_until(lambda: engine.load().kv_tokens_used == 0, description="the KV cache is free")


async def test_an_answer_that_its_text_ends_leaves_the_engine(engine: Engine, plain: list[Event]) -> None:
    await collect(engine, request("stopped by text", max_tokens=400, stop=(text(plain).split()[5],)))
    assert engine.load().running + engine.load().waiting == 0
    await collect(engine, request("after the stop", max_tokens=1))
    await wait_until(lambda: engine.load().kv_tokens_used == 0, description="the KV cache is free")


@pytest.mark.parametrize("refused", [0, 3])
async def test_what_is_taken_and_what_is_yielded_make_one_answer(
    engine: Engine, pair: list[Event], refused: int
) -> None:
    """refused: every so many offers one is."""
    heard: list[Event] = []
    taken = 0

    def take(delta: Delta) -> bool:
        nonlocal taken
        if refused and len(heard) % refused == 0:
            return False
        heard.append(delta)
        taken += 1
        return True

    async with aclosing(engine.generate(request("taken", max_tokens=PAIR_LENGTH, n=2), take)) as events:
        async for event in events:
            heard.append(event)  # noqa: PERF401 -- `take` reads it meanwhile
    assert [whole(deltas(heard, choice)) for choice in (0, 1)] == [whole(deltas(pair, choice)) for choice in (0, 1)]
    assert [type(event) for event in heard if not isinstance(event, Delta)] == [Started, Ended]
    assert isinstance(heard[-1], Ended)
    assert heard[-1].usage.completion_tokens == 2 * PAIR_LENGTH
    assert 10 < taken < len(heard)


async def test_many_at_once_all_finish(engine: Engine) -> None:
    requests = [request(f"many-{index}", TextPrompt(f"Number {index} is"), max_tokens=12) for index in range(40)]
    answers = await asyncio.gather(*(collect(engine, one) for one in requests))
    assert all(len(tokens(events)) == 12 for events in answers)


async def test_a_repeated_prompt_is_cached_but_not_across_salts(engine: Engine) -> None:
    long = TokenPrompt(tuple(range(300, 600)))  # several blocks

    async def cached(name: str, salt: str) -> int:
        asked = EngineRequest(name, long, Sampling(max_tokens=1), cache_salt=salt)
        started = (await collect(engine, asked))[0]
        assert isinstance(started, Started)
        return started.cached_tokens

    assert await cached("first", "tenant-a") == 0
    assert await cached("again", "tenant-a") > 0
    assert await cached("other", "tenant-b") == 0


@pytest.mark.parametrize(
    ("prompt", "sampling", "refusal"),
    [
        (TextPrompt("much too long " * CONTEXT), {}, ContextTooLong),
        (TextPrompt("short"), {"max_tokens": CONTEXT}, ContextTooLong),
        (TokenPrompt((10_000_000,)), {"max_tokens": 1}, InvalidPrompt),
        (TokenPrompt(()), {"max_tokens": 1}, InvalidPrompt),
        (TextPrompt("short"), {"min_tokens": 9, "max_tokens": 8}, InvalidPrompt),
    ],
    ids=["long prompt", "long answer", "unknown token", "no tokens", "min over max"],
)
async def test_bad_requests_are_refused_and_hurt_nobody(
    engine: Engine, prompt: object, sampling: dict[str, object], refusal: type[Exception]
) -> None:
    with pytest.raises(refusal):
        await collect(engine, request("bad", prompt, **sampling))
    assert len(tokens(await collect(engine, request("good", max_tokens=2)))) == 2


async def test_refusals_name_the_parameter_and_the_limit(engine: Engine) -> None:
    with pytest.raises(InvalidPrompt, match="vocabulary") as refused:
        await collect(engine, request("token", TokenPrompt((10_000_000,)), max_tokens=1))
    assert refused.value.param == "prompt"
    with pytest.raises(InvalidPrompt, match="vocabulary") as refused:
        await engine.detokenize([engine.info.vocab_size])
    assert refused.value.param == "tokens"
    for prompt, limit in ((TextPrompt("much too long " * CONTEXT), 1), (TextPrompt("short"), CONTEXT)):
        with pytest.raises(ContextTooLong, match=f"maximum context length is {CONTEXT} tokens"):
            await collect(engine, request("long", prompt, max_tokens=limit))


async def test_without_a_limit_the_answer_fits_the_context(engine: Engine) -> None:
    prompt = TokenPrompt(tuple(range(300, 300 + CONTEXT - 5)))
    assert len(tokens(await collect(engine, request("all", prompt)))) == 5


SAID_PROMPT = TokenPrompt(tuple(range(700, 1000)))
"""No other prompt begins like it: what one version has cached outlives a swap, whatever test asked for it."""


async def said(engine: Engine, name: str) -> tuple[list[int], int]:
    """Tokens, and how many of the prompt's were cached."""
    events = await collect(engine, EngineRequest(name, SAID_PROMPT, Sampling(max_tokens=16, **GREEDY)))  # type: ignore[arg-type]
    assert isinstance(events[0], Started)
    return tokens(events), events[0].cached_tokens


async def rest_of(engine: Engine, had: list[int]) -> list[int]:
    """How the answer of `said` goes on after the tokens that other weights gave."""
    asked = EngineRequest("crossing", SAID_PROMPT, Sampling(max_tokens=16, **GREEDY))  # type: ignore[arg-type]
    point = ResumePoint(tuple(had), text_offset=0)
    return tokens(await collect(engine, replace(asked, resume={0: point})))


async def said_after(engine: Engine, had: list[int], changed: list[int]) -> list[int]:
    """What these weights say after the tokens. For a model they are a prompt; the simulated engine counts its own."""
    if is_simulated(engine):
        return changed[len(had) :]
    prompt = TokenPrompt((*SAID_PROMPT.ids, *had))
    asked = EngineRequest("after", prompt, Sampling(max_tokens=16 - len(had), **GREEDY))  # type: ignore[arg-type]
    return tokens(await collect(engine, asked))


async def test_answers_change_with_the_weights_and_change_back(
    engine: Engine, model: Model, other_model: Model
) -> None:
    before, _ = await said(engine, "before")
    again = await said(engine, "cached")
    assert again[1] > 0
    await engine.swap(other_model)
    assert engine.info.model_version == other_model.manifest.version
    changed, cached = await said(engine, "changed")
    assert (changed != before, cached) == (True, 0)
    assert await rest_of(engine, before[:8]) == await said_after(engine, before[:8], changed)
    await engine.swap(model)
    assert engine.info.model_version == model.manifest.version
    assert await said(engine, "back") == again, "its KV is found again"
    await engine.swap(other_model, forget=True)
    assert await said(engine, "forgotten") == (changed, 0)
    await engine.swap(model)
    assert await said(engine, "forgotten too") == (before, 0)


async def test_an_output_layer_that_is_the_embedding_changes_with_it(
    engine: Engine, model: Model, tmp_path: Path
) -> None:
    """With all rows of the embedding one place further on, each token has the meaning of the next one."""
    if model.manifest.model != "smollm2":
        pytest.skip("the simulated engine has no layers")
    shutil.copytree(model.folder, tmp_path / "rolled", ignore=shutil.ignore_patterns("model.safetensors"))
    tensors = load_file(model.folder / "model.safetensors")
    tensors[EMBEDDING] = torch.roll(tensors[EMBEDDING], -1, dims=0)
    save_file(tensors, tmp_path / "rolled/model.safetensors", metadata={"format": "pt"})
    rolled = Model(tmp_path / "rolled", manifest_of({"model.safetensors": b"rolled"}, model="smollm2"))

    async def answer(name: str, first: int) -> list[int]:
        prompt = TokenPrompt(tuple(range(first, first + 40)))
        sampling = Sampling(max_tokens=16, temperature=0.0, ignore_eos=True)
        return tokens(await collect(engine, EngineRequest(name, prompt, sampling)))

    expected = [token - 1 for token in await answer("before", 301)]
    await engine.swap(rolled)
    assert await answer("rolled", 300) == expected
    await engine.swap(model)
    assert [token - 1 for token in await answer("back", 301)] == expected


async def test_golden_prompts_tell_weights_apart(engine: Engine, model: Model, other_model: Model) -> None:
    prompt = tuple(range(300, 340))
    events = await collect(
        engine, EngineRequest("golden", TokenPrompt(prompt), Sampling(max_tokens=8, temperature=0.0))
    )
    golden = Golden(prompt_token_ids=prompt, expected_token_ids=tuple(tokens(events)))
    manifest = model.manifest.model_copy(update={"golden": (golden,)})
    await prove(engine, manifest, "right")
    await engine.swap(other_model)
    with pytest.raises(NotProven, match=r"golden prompt 0: token \d is"):
        await prove(engine, manifest, "wrong")
    await engine.swap(model)
    await prove(engine, manifest, "right again")


async def test_it_says_how_fast_it_computes_prompts_and_still_after_a_swap(
    engine: Engine, other_model: Model, model: Model
) -> None:
    if engine.info.architecture == "Simulated":
        pytest.skip("the simulated engine's prompts cost nothing here")
    pace = engine.info.prefill_tokens_per_s
    assert pace > 0
    await engine.swap(other_model)
    assert engine.info.prefill_tokens_per_s == pace
    await engine.swap(model)


async def test_weights_are_not_changed_under_a_running_request(engine: Engine, other_model: Model) -> None:
    version = engine.info.model_version
    async with aclosing(engine.generate(request("running", max_tokens=400))) as events:
        async for event in events:
            if isinstance(event, Delta):
                break
        with pytest.raises(SwapFailed, match="running") as failed:
            await engine.swap(other_model)
    assert failed.value.intact
    assert engine.info.model_version == version
    await wait_until(lambda: engine.load().running + engine.load().waiting == 0, description="nothing runs")


@pytest.mark.parametrize("change", [{"architecture": "Other"}, {"tokenizer_sha256": "f" * 64}, {"vocab_size": 7}])
async def test_a_model_of_another_kind_is_refused(engine: Engine, model: Model, change: dict[str, object]) -> None:
    before, _ = await said(engine, "before-refusal")
    other = Model(model.folder, model.manifest.model_copy(update=change))
    with pytest.raises(SwapFailed, match=next(iter(change))) as failed:
        await engine.swap(other)
    assert failed.value.intact
    assert (await said(engine, "after-refusal"))[0] == before


async def test_tensors_of_another_shape_are_refused_before_anything_is_touched(
    engine: Engine, model: Model, request: pytest.FixtureRequest
) -> None:
    """vLLM only: a load that broke off would leave it unable to load anything more."""
    if model.manifest.model != "smollm2":
        pytest.skip("the simulated engine loads nothing")
    before, _ = await said(engine, "whole")
    folder: Path = request.getfixturevalue("broken_smollm2_folder")
    broken = Model(folder, manifest_of({"model.safetensors": b"broken"}, model="smollm2"))
    with pytest.raises(RefusedModel, match=r"down_proj.weight is \[7, "):
        await engine.check_swap(broken)
    with pytest.raises(SwapFailed, match=r"down_proj.weight is \[7, ") as failed:
        await engine.swap(broken)
    assert failed.value.intact
    assert (await said(engine, "whole again"))[0] == before


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"architectures": ["TideForCausalLM"]}, "TideForCausalLM"),
        ({"model_type": "tide", "auto_map": {}}, "tide"),
        ({"num_hidden_layers": 31}, "layer 30 of 31 is missing"),
        ({"intermediate_size": 1024}, "config.json asks for"),
        ({"num_attention_heads": 7}, "attention heads"),
    ],
)
async def test_what_no_start_could_serve_is_refused(
    engine: Engine, model: Model, tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    """vLLM only: the worker would be drained for a version with which it cannot start."""
    if model.manifest.model != "smollm2":
        pytest.skip("the simulated engine reads no model")
    shutil.copytree(
        model.folder, tmp_path / "set", ignore=shutil.ignore_patterns("config.json"), copy_function=os.symlink
    )
    config = json.loads((model.folder / "config.json").read_text()) | change
    (tmp_path / "set/config.json").write_text(json.dumps(config))
    architecture = config["architectures"][0]
    manifest = model.manifest.model_copy(update={"architecture": architecture, "version": "f" * 64})
    with pytest.raises(RefusedModel, match=reason):
        await engine.check_swap(Model(tmp_path / "set", manifest))


@pytest.mark.parametrize(
    ("file", "setting"),
    [("config.json", {"rms_norm_eps": 0.5}), ("generation_config.json", {"eos_token_id": [2, 28]})],
)
async def test_settings_that_are_read_at_the_start_are_refused(
    engine: Engine, model: Model, tmp_path: Path, file: str, setting: dict[str, object]
) -> None:
    """vLLM only: it would serve the new version with the settings of the old one."""
    if model.manifest.model != "smollm2":
        pytest.skip("the simulated engine has no settings of a model")
    shutil.copytree(model.folder, tmp_path / "set", ignore=shutil.ignore_patterns(file), copy_function=os.symlink)
    (tmp_path / "set" / file).write_text(json.dumps(json.loads((model.folder / file).read_text()) | setting))
    with pytest.raises(SwapFailed, match=f"{file}: {next(iter(setting))} is") as failed:
        await engine.check_swap(Model(tmp_path / "set", manifest_of({"model.safetensors": b"set"}, model="smollm2")))
    assert failed.value.intact


async def test_steps_and_tokens_only_grow(engine: Engine) -> None:
    before = engine.load()
    await collect(engine, request("count", max_tokens=6))
    await wait_until(
        lambda: engine.load().generated_tokens >= before.generated_tokens + 6, description="the tokens are counted"
    )
    assert engine.load().steps > before.steps


async def test_ngram_speculation_drafts_while_the_switch_is_on(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM only: on a text that repeats itself, drafts are made and accepted, and left out where they are off."""
    if engine.info.vocab_size < 40_000:
        pytest.skip("the simulated engine has no n-grams")
    from services.worker.engine.vllm.engine import VllmEngine as Running

    assert isinstance(engine, Running)
    assert engine._draft_flag
    answers, accepted = [], []
    for number, on in enumerate((True, False, True)):
        monkeypatch.setattr(engine._stats, "_switch", Told(on=on))
        engine._draft_flag.set(on=on)
        asked = request(f"draft-{number}", TextPrompt("one two three four " * 12), max_tokens=32)
        events = await collect(engine, asked)
        answers.append([token for event in events if isinstance(event, Delta) for token in event.token_ids])
        assert isinstance(events[-1], Ended)
        accepted.append(events[-1].usage.accepted_draft_tokens)
        assert engine.load().drafts is on
    assert answers[0] == answers[1] == answers[2]
    assert 0 < accepted[0] < 32
    assert accepted[1] == 0 < accepted[2]
    assert _counter("vllm:spec_decode_num_drafts_total") > 0
    assert _counter("vllm:spec_decode_num_accepted_tokens_total") > 0


class Told(SpeculationSwitch):
    """A switch that a test sets."""

    def __init__(self, *, on: bool) -> None:
        super().__init__()
        self._drafts = on

    def plan(self, sequences: int) -> bool:
        return self._drafts


async def test_an_argument_of_args_arrives_in_vllm(engine: Engine) -> None:
    """vLLM only: its cache has blocks of the length that `args` says."""
    if engine.info.vocab_size < 40_000:
        pytest.skip("the simulated engine has no arguments of vLLM")
    prompt = TokenPrompt(tuple(range(1000, 1000 + BLOCK_TOKENS + 6)))
    await collect(engine, request("fills a block", prompt, max_tokens=1))
    started = (await collect(engine, request("finds it", prompt, max_tokens=1)))[0]
    assert isinstance(started, Started)
    assert started.cached_tokens == BLOCK_TOKENS


def _counter(name: str) -> float:
    samples = (sample for metric in prometheus_client.REGISTRY.collect() for sample in metric.samples)
    return sum(sample.value for sample in samples if sample.name == name)


async def test_counting_tokens_reads_what_generating_would(engine: Engine) -> None:
    for prompt in (PROMPT, ChatPrompt([{"role": "user", "content": "Say: tide \U0001f30a"}])):
        counted = await engine.tokenize(prompt)
        [started] = [
            event
            for event in await collect(engine, request("counted", prompt, max_tokens=1))
            if isinstance(event, Started)
        ]
        assert len(counted) == started.prompt_tokens
    assert await engine.detokenize(await engine.tokenize(PROMPT)) == PROMPT.text
    with pytest.raises(InvalidPrompt):
        await engine.detokenize([engine.info.vocab_size])
