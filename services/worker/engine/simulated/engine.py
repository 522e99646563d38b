"""The simulated engine: scheduling, KV cache and costs like a real engine, without a model."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

from services.shared.clock import Clock
from services.shared.config import Adapters
from services.shared.engine_settings import SimulatedEngine as Config
from services.shared.settings import WrongSettings
from services.shared.speculators import draft_length
from services.worker.engine.bounds import check_token_ids
from services.worker.engine.contract import (
    Adapter,
    AdapterRefused,
    Delta,
    Drafter,
    EmbedRequest,
    Ended,
    EngineDead,
    EngineError,
    EngineInfo,
    EngineLoad,
    EngineRequest,
    Event,
    InvalidPrompt,
    Model,
    Prompt,
    Started,
    SwapFailed,
    Take,
    TokenPrompt,
    Usage,
    leave,
    unfit,
)
from services.worker.engine.node import Node
from services.worker.engine.simulated.drafter import SimulatedDrafter
from services.worker.engine.simulated.faults import Faults
from services.worker.engine.simulated.kv import KvCache
from services.worker.engine.simulated.prompt import kept_tokens, limit_of, text_of, tokens_of
from services.worker.engine.simulated.run import Run
from services.worker.engine.simulated.scheduler import Scheduler, Sequence, Share
from services.worker.engine.simulated.tokens import END, VOCABULARY, token_str
from services.worker.engine.simulated.vectors import DIMENSIONS, vector
from services.worker.engine.simulated.version import SimulatedVersion
from services.worker.engine.speculation_switch import SpeculationSwitch, Step

log = logging.getLogger(__name__)

_HANG_POLL_S = 0.05


class SimulatedEngine:
    """An engine without a model: its costs are realistic and its answers are reproducible."""

    def __init__(
        self, config: Config, clock: Clock, faults: Faults | None = None, adapters: Adapters | None = None
    ) -> None:
        """Builds the engine; `faults` lets a test make it fail, `adapters` says how many of them it has room for.

        Raises:
            WrongSettings: The KV cache is smaller than one whole context.
        """
        self._config, self._clock, self._faults = config, clock, faults or Faults()
        self._kv = KvCache(config.kv_tokens, config.block_tokens)
        if self._kv.capacity_tokens < config.context_tokens:
            raise WrongSettings(f"engine.kv_tokens = {config.kv_tokens}: less than context_tokens")
        self._scheduler = Scheduler(self._kv, config.max_running, config.step_tokens)
        self._runs: dict[Sequence, Run] = {}
        self._version: SimulatedVersion | None = None
        self._drafter: SimulatedDrafter | None = None
        self._drafts = True
        self._switch = SpeculationSwitch() if config.speculation and config.speculation.adaptive else None
        self._adapter_room = adapters.max_loaded if adapters else 0
        self._adapters: dict[int, Adapter] = {}
        self._loop: asyncio.Task[None] | None = None
        self._work = asyncio.Event()
        self._going = asyncio.Event()
        self._going.set()
        self._steps = 0
        self._generated = 0
        self._death: str | None = None

    async def start(self, model: Model, node: Node | None = None) -> None:
        """Starts the loop of engine steps. Other nodes have nothing to do."""
        self._run_on(SimulatedVersion(model))
        if model.draft:
            self._drafter = self._drafter_of(model.draft)
        else:
            self._switch = None
        self._loop = asyncio.create_task(self._run(), name="simulated-engine")
        self._loop.add_done_callback(self._ended)

    @property
    def info(self) -> EngineInfo:
        """Describes the engine and the loaded version.

        Raises:
            EngineDead: The engine has not started.
        """
        return EngineInfo(
            architecture="Simulated",
            model_version=self._loaded.manifest.version,
            context_tokens=self._config.context_tokens,
            max_running=self._config.max_running,
            kv_tokens=self._kv.capacity_tokens,
            vocab_size=VOCABULARY,
            prefill_tokens_per_s=self._config.prefill_tokens_per_s,
            dimensions=DIMENSIONS if self._embeds else 0,
            draft_version=self._drafter.drafter.manifest.version if self._drafter else "",
        )

    def load(self) -> EngineLoad:
        """Returns what the engine does now."""
        return EngineLoad(
            running=len(self._scheduler.running),
            waiting=len(self._scheduler.waiting),
            kv_tokens_used=self._kv.used_tokens,
            steps=self._steps,
            generated_tokens=self._generated,
            drafted=tuple(self._drafter.drafted) if self._drafter else (),
            accepted=tuple(self._drafter.accepted) if self._drafter else (),
            drafts=self._switch.drafts if self._switch else None,
            switched_on=self._switch.switched_on if self._switch else 0,
            switched_off=self._switch.switched_off if self._switch else 0,
        )

    @property
    def death(self) -> str | None:
        """Why the engine is gone for good, or None."""
        return self._death

    async def generate(self, request: EngineRequest, take: Take = leave) -> AsyncGenerator[Event, None]:
        """Yields Started, the deltas of all choices, and Ended, as `Engine.generate` describes."""
        if self._embeds:
            raise InvalidPrompt("this model embeds: it generates no text", "model")
        async with contextlib.aclosing(self._compute(request, take)) as events:
            async for event in events:
                yield event

    async def embed(self, request: EmbedRequest) -> AsyncGenerator[Event, None]:
        """Yields Started, a delta for each missing input, and Ended, as `Engine.embed` describes."""
        if not self._embeds:
            raise InvalidPrompt("this model generates text: it does not embed", "model")
        if (request.dimensions or 0) > DIMENSIONS:
            raise InvalidPrompt(f"dimensions must be at most {DIMENSIONS}", "dimensions")
        asked = {index: _whole(request, index) for index in request.missing}
        prompts = {index: self._input(each, index) for index, each in asked.items()}
        tokens = sum(map(len, prompts.values()))
        yield Started(tokens, 0, resumable=True)
        weights = self._weights(request.adapter)
        cached = 0
        for each in asked.values():
            async with contextlib.aclosing(self._compute(each, leave)) as events:
                cached += sum([event.cached_tokens async for event in events if isinstance(event, Started)])
        for index, prompt in prompts.items():
            yield Delta(index, finish_reason="stop", embedding=vector(prompt, weights, request.dimensions))
        yield Ended(Usage(tokens, cached, 0))

    def _input(self, asked: EngineRequest, index: int) -> tuple[int, ...]:
        """Returns the tokens of an input. Raises InvalidPrompt, which names it."""
        try:
            prompt = kept_tokens(asked, self._config.context_tokens)
            limit_of(asked, len(prompt), self._config.context_tokens)
        except InvalidPrompt as error:
            raise type(error)(f"input[{index}]: {error}", error.param) from error
        return prompt

    async def _compute(self, request: EngineRequest, take: Take) -> AsyncGenerator[Event, None]:
        """Runs a request through the steps of the engine."""
        if self._death:
            raise EngineDead(self._death)
        if request.adapter and self._adapters.get(request.adapter.number) != request.adapter:
            raise EngineError(f"the engine does not have the adapter {request.adapter.name}")
        if self._running.fails():
            raise EngineError("this version fails some requests")
        prompt = kept_tokens(request, self._config.context_tokens)
        run = Run(request, prompt, limit_of(request, len(prompt), self._config.context_tokens), take)
        run.begin(self._weights(request.adapter), self._loaded.manifest.version)
        if not run.choices:
            run.end()
        self._add(run)
        try:
            while True:
                event = await run.next()
                yield event
                if isinstance(event, Ended):
                    return
        finally:
            for sequence in list(run.choices):
                self._forget(sequence)

    async def tokenize(self, prompt: Prompt, *, add_special_tokens: bool | None = None) -> list[int]:
        """Returns the token ids that `generate` would read. This tokenizer adds no special tokens."""
        self._check_alive()
        return list(tokens_of(prompt))

    def tokenizer_config(self) -> dict[str, Any]:
        """Returns the little that there is to say of this tokenizer."""
        self._check_alive()
        return {"tokenizer_class": "SimulatedTokenizer", "eos_token": token_str(END)}

    def token_strs(self, token_ids: list[int]) -> list[str]:
        """Returns tokens as the vocabulary writes them: single bytes as `<0xF0>`."""
        self._check_alive()
        return list(map(token_str, token_ids))

    async def detokenize(self, token_ids: list[int]) -> str:
        """Returns the text of token ids.

        Raises:
            InvalidPrompt: An id is outside the vocabulary.
            EngineDead: The engine is gone.
        """
        self._check_alive()
        check_token_ids(token_ids, VOCABULARY, "tokens")
        return text_of(TokenPrompt(tuple(token_ids)))

    async def add_adapter(self, adapter: Adapter) -> None:
        """Takes an adapter in; that takes a tenth of the time of a swap."""
        self._check_alive()
        if len(self._adapters) >= self._adapter_room:
            raise AdapterRefused(f"the engine has room for {self._adapter_room} adapters")
        await self._clock.sleep(self._config.swap_ms / 10_000 * self._faults.slowdown)
        self._check_alive()
        if adapter.name in self._faults.adapters:
            raise AdapterRefused(self._faults.adapters[adapter.name])
        self._adapters[adapter.number] = adapter

    async def remove_adapter(self, adapter: Adapter) -> None:
        """Forgets an adapter."""
        self._check_alive()
        self._adapters.pop(adapter.number, None)

    async def check_swap(self, model: Model) -> None:
        """Checks that it is another version of the same model."""
        self._check_alive()
        if reason := unfit(self._loaded.manifest, model.manifest):
            raise SwapFailed(reason, intact=True)

    async def swap(self, model: Model, *, forget: bool = False) -> None:
        """Replaces the version and forgets all adapters, and all cached KV if `forget` says so."""
        await self.check_swap(model)
        version = SimulatedVersion(model)
        if self._scheduler.has_work:
            raise SwapFailed("requests are running", intact=True)
        await self._clock.sleep(self._config.swap_ms / 1000 * self._faults.slowdown)
        if self._faults.swap == "crash":
            self._die(reason := "the engine crashed while its weights were replaced")
            raise EngineDead(reason)
        if self._faults.swap:
            raise SwapFailed(self._faults.swap, intact=False)
        if forget:
            self._kv.forget()
        self._adapters.clear()
        self._run_on(version)

    async def check_draft_swap(self, drafter: Drafter) -> None:
        """Checks that it drafts as many tokens as the present one."""
        self._check_alive()
        old, new = self._drafter, self._drafter_of(drafter)
        if old is None:
            raise SwapFailed("this engine has no speculator", intact=True)
        if old.tokens != new.tokens:
            raise SwapFailed(f"it drafts {new.tokens} tokens, this engine {old.tokens}", intact=True)

    async def swap_draft(self, drafter: Drafter) -> None:
        """Replaces the speculator between two steps. The next one waits for as long as a tenth of a swap takes."""
        await self.check_draft_swap(drafter)
        self._going.clear()
        try:
            await self._clock.sleep(self._config.swap_ms / 10_000 * self._faults.slowdown)
            self._check_alive()
            if self._faults.draft_swap:
                raise SwapFailed(self._faults.draft_swap, intact=False)
            self._drafter = self._drafter_of(drafter).counting_on(self._drafter)
        finally:
            self._going.set()

    async def stop(self) -> None:
        """Fails every running request and ends the loop."""
        self._die("the engine was stopped")
        if self._loop:
            self._loop.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop

    def _check_alive(self) -> None:
        if self._death:
            raise EngineDead(self._death)

    @property
    def _embeds(self) -> bool:
        return self._config.runner == "pooling"

    def _weights(self, adapter: Adapter | None) -> str:
        """Names everything that decides an answer beside the prompt."""
        return self._loaded.manifest.weights_sha256 + (adapter.version if adapter else "")

    @property
    def _loaded(self) -> Model:
        return self._running.model

    @property
    def _running(self) -> SimulatedVersion:
        if self._version is None:
            raise EngineDead("the engine has not started")
        return self._version

    def _run_on(self, version: SimulatedVersion) -> None:
        self._version = version
        self._kv.weights = version.model.manifest.weights_sha256

    def _add(self, run: Run) -> None:
        for sequence in run.choices:
            self._runs[sequence] = run
            self._scheduler.add(sequence)
        self._work.set()

    def _ended(self, loop: asyncio.Task[None]) -> None:
        if not loop.cancelled() and (error := loop.exception()):
            log.error("the simulated engine failed", exc_info=error)
            self._die(f"the engine failed: {error}")

    def _forget(self, sequence: Sequence) -> None:
        self._scheduler.remove(sequence)
        self._runs.pop(sequence, None)

    async def _run(self) -> None:
        while not self._death:
            if not self._scheduler.has_work:
                self._work.clear()
                await self._work.wait()
            await self._going.wait()
            await self._step()

    async def _step(self) -> None:
        shares = self._scheduler.plan()
        if self._faults.kills([self._runs[share.sequence].prompt_text for share in shares]):
            self._die("the engine crashed")
            return
        if self._switch and shares:
            self._drafts = self._switch.plan(len(shares))
        before, began = self._generated, self._clock.monotonic()
        await self._clock.sleep(self._cost_s(shares))
        while self._faults.hang:
            await self._clock.sleep(_HANG_POLL_S)
        self._steps += 1
        self._finish(shares)
        if self._switch and shares and not any(share.prefill for share in shares):
            took_s = self._clock.monotonic() - began
            self._switch.saw(Step(len(shares), self._generated - before, took_s))

    def _finish(self, shares: list[Share]) -> None:
        """Passes the tokens of a step on to the requests."""
        decoded = {share.sequence for share in shares if not share.prefill}
        for sequence in self._scheduler.commit(shares):
            self._runs[sequence].started(sequence.cached_tokens or 0)
            # As in vLLM, a sequence has a draft from its second token on.
            right = self._drafter.draft() if self._drafter and self._drafts and sequence in decoded else 0
            goes_on = self._advance(sequence)
            for position in range(right):
                if not goes_on or not self._drafter or not self._scheduler.compute_ahead(sequence):
                    break
                self._drafter.took(position)
                goes_on = self._advance(sequence, drafted=True)

    def _advance(self, sequence: Sequence, *, drafted: bool = False) -> bool:
        """Generates one token of a sequence. Returns whether it goes on."""
        run = self._runs[sequence]
        self._generated += 1
        if not run.advance(sequence, drafted=drafted).finish_reason:
            return True
        self._forget(sequence)
        if not run.choices:
            run.end()
        return False

    def _cost_s(self, shares: list[Share]) -> float:
        prefill = sum(share.prefill for share in shares)
        cost_ms = (
            self._config.step_ms
            + self._config.sequence_ms * len(self._scheduler.running)
            + self._config.prefill_ms * prefill
            + self._draft_ms(sum(not share.prefill for share in shares))
        )
        return cost_ms / 1000 * self._faults.slowdown * self._running.costs.slowdown

    def _draft_ms(self, sequences: int) -> float:
        """What drafting for so many sequences and checking it adds to a step."""
        speculation = self._config.speculation
        if speculation is None or self._drafter is None or not self._drafts or not sequences:
            return 0.0
        return self._drafter.tokens * (speculation.draft_ms + speculation.check_ms * sequences)

    def _drafter_of(self, drafter: Drafter) -> SimulatedDrafter:
        speculation = self._config.speculation
        return SimulatedDrafter(drafter, draft_length(speculation.tokens if speculation else None, drafter.manifest))

    def _die(self, reason: str) -> None:
        """Fails all requests; only the first call has an effect."""
        if self._death:
            return
        self._death = reason
        for run in set(self._runs.values()):
            run.fail(EngineDead(reason))
        for sequence in list(self._runs):
            self._forget(sequence)
        self._work.set()


def _whole(request: EmbedRequest, index: int) -> EngineRequest:
    """An input as a request that only reads its prompt."""
    sampling = replace(request.sampling, max_tokens=0, n=1)
    name = f"{request.request_id}-{index}"
    return EngineRequest(
        name,
        request.inputs[index],
        sampling,
        cache_salt=request.cache_salt,
        priority=request.priority,
        adapter=request.adapter,
    )
