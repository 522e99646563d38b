"""One drill: weights of SmolLM2 on vLLM change in place, forth and back, under streams that never cease."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx

from services.cli.clients import rollouts
from services.cli.clients.rollouts import Asker, Way
from services.shared.swap_mode import SwapMode
from tests.robustness.cluster_view import ClusterView
from tests.support.cluster import UP_S, RunningCluster, tidegate
from tests.support.wait import wait_until

MODEL, NEXT = "smollm2", "next"
STREAMS = 8
TOKENS = 96
QUESTIONS = (
    "Name three birds that live by the sea.",
    "Why does the tide rise twice a day?",
    "Write a sentence about a lighthouse.",
    "How do I cook rice?",
    "Explain what a harbour is to a child.",
    "List the planets of the solar system.",
    "What should I pack for a week on a boat?",
    "Tell me a short story about a cat and a storm.",
)
_SCALED, _BY = "model.layers.10.self_attn.o_proj.weight", 1.5
"""A change that makes other answers, and other KV in every layer after it."""
_CALM_ANSWERS = 2 * STREAMS
_MAX_TURNS = 10_000


def config() -> str:
    """The configuration of a cluster with one worker. In float32 an answer does not depend on what runs beside it."""
    engine = "kind: vllm, dtype: float32, context_tokens: 1024, kv_memory_gib: 0.5"
    pool = f"name: {MODEL}, model: {MODEL}, engine: {{{engine}, max_running: {STREAMS}}}"
    return f"pools: [{{{pool}}}]\nclasses: {{default: {{max_wait_s: {UP_S}}}}}"


def second(folder: Path, target: Path) -> Path:
    """The same model with other weights in one layer."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, target)
    tensors = load_file(folder / "model.safetensors")
    tensors[_SCALED] = tensors[_SCALED] * _BY
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    return target


@dataclass(frozen=True, slots=True)
class Swap:
    """One change of the weights. All times are seconds.

    Attributes:
        copied_s: In which vLLM replaced its weights, as the worker measured it.
        closed_s: In which the worker could generate nothing: the swap and the golden prompts.
        paused_s: The longest that a stream got nothing meanwhile.
        crossed: Streams that went on with the other version.
    """

    mode: SwapMode
    copied_s: float
    closed_s: float
    paused_s: float
    crossed: int


@dataclass(slots=True)
class Report:
    """What was seen, and what was wrong; nothing, if all is well. `calm_s`: the longest pause without a swap."""

    swaps: list[Swap] = field(default_factory=list)
    calm_s: float = 0.0
    streams: int = 0
    compared: int = 0
    violations: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Streams:
    """Streams that never cease. `pause_s`: the longest that one of them got nothing; whoever reads it may reset it."""

    pause_s: float = 0.0
    crossed: int = 0
    ended: int = 0
    said: list[tuple[int, list[tuple[str, str]]]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


async def drill(cluster: RunningCluster, other: Path, swaps: int) -> Report:
    """Changes the weights so many times.

    Args:
        cluster: A cluster with `config`, whose model has golden prompts.
        other: Folder of the second version.
        swaps: How many changes.
    """
    headers = {"authorization": f"Bearer {cluster.key}"}
    async with httpx.AsyncClient(base_url=f"{cluster.rest}/", headers=headers, timeout=UP_S) as http:
        return await _Drill(cluster, http).run(other, swaps)


class _Drill:
    def __init__(self, cluster: RunningCluster, http: httpx.AsyncClient) -> None:
        self._cluster, self._http = cluster, http
        self._view = ClusterView.of(cluster)
        self._expected: dict[str, list[str]] = {}
        self._report = Report()

    async def run(self, other: Path, swaps: int) -> Report:
        (worker,) = json.loads(await self._command("workers", "list", "--json"))
        imported = await self._command("models", "import", str(other), "--name", MODEL, "--alias", NEXT, "--json")
        versions = [worker["version"], json.loads(imported)["version"]]
        for version in (versions[1], versions[0]):
            await self._learn()
            await self._roll(version, SwapMode.FINISH)
        await self._compare_versions()
        async with self._streams() as streams:
            await self._more(streams)
            self._report.calm_s, streams.pause_s = streams.pause_s, 0.0
            for version, mode in zip(cycle(versions[::-1]), _modes(swaps), strict=False):
                self._report.swaps.append(await self._swap(version, mode, streams))
        self._report.streams = streams.ended
        self._report.violations += streams.failures + self._wrong(streams)
        return self._report

    async def _swap(self, version: str, mode: SwapMode, streams: _Streams) -> Swap:
        before, crossed = await self._seconds(), streams.crossed
        streams.pause_s = 0.0
        await self._roll(version, mode)
        await self._more(streams)
        after = await self._seconds()
        copied_s, closed_s = (after[name] - before[name] for name in before)
        return Swap(mode, copied_s, closed_s, streams.pause_s, streams.crossed - crossed)

    async def _roll(self, version: str, mode: SwapMode) -> None:
        routers = self._cluster.record.addresses.routers
        started = await rollouts.start(routers, MODEL, version, Way(mode=mode), Asker(who="drill"))
        ended = await rollouts.follow(routers, started, lambda _: None)
        if ended.state != "done":
            self._report.violations.append(f"the rollout is {ended.state}: {ended.reason}")

    async def _seconds(self) -> dict[str, float]:
        """What the worker has spent on swaps, in order: on copying weights, and closed."""
        names = ("tidegate_worker_swap_seconds_sum", "tidegate_worker_delivery_gap_seconds_sum")
        return {name: await self._view.metric("worker-1", name) for name in names}

    async def _learn(self) -> None:
        """Notes what the version that is served now answers, when nothing else runs."""
        for number in range(len(QUESTIONS)):
            ((fingerprint, text),) = await self._ask(number, lambda _: None)
            self._expected.setdefault(fingerprint, []).append(text)

    async def _compare_versions(self) -> None:
        first, other = self._expected.values()
        if any(one == two for one, two in zip(first, other, strict=True)):
            raise AssertionError("the two versions give the same answer: nobody could tell them apart")

    @asynccontextmanager
    async def _streams(self) -> AsyncIterator[_Streams]:
        made, stop = _Streams(), asyncio.Event()
        async with asyncio.TaskGroup() as together:
            for number in range(STREAMS):
                together.create_task(self._stream(number, made, stop))
            try:
                yield made
            finally:
                stop.set()

    async def _stream(self, number: int, made: _Streams, stop: asyncio.Event) -> None:
        def paused(seconds: float) -> None:
            made.pause_s = max(made.pause_s, seconds)

        for _ in range(_MAX_TURNS):
            if stop.is_set():
                return
            try:
                pieces = await self._ask(number, paused)
            except (httpx.HTTPError, AssertionError) as error:
                made.failures.append(f"{QUESTIONS[number]}: {type(error).__name__}: {error}")
            else:
                made.said.append((number, pieces))
                made.crossed += len(pieces) > 1
            made.ended += 1

    async def _more(self, made: _Streams) -> None:
        enough = made.ended + _CALM_ANSWERS
        await wait_until(
            lambda: made.ended >= enough or made.failures, description="more streams have ended", timeout=UP_S
        )

    async def _ask(self, number: int, paused: Callable[[float], None]) -> list[tuple[str, str]]:
        """One streamed answer: its text by version. `paused` is told each time in which nothing came."""
        now = asyncio.get_running_loop().time
        pieces: list[tuple[str, str]] = []
        tokens, last, heard = 0, "", now()
        async with self._http.stream("POST", "chat/completions", json=_body(number)) as response:
            async for line in response.aiter_lines():
                last = line or last
                if not line.startswith("data: {"):
                    continue
                paused(now() - heard)
                heard = now()
                event = json.loads(line.removeprefix("data: "))
                if "error" in event:
                    raise AssertionError(f"{event['error']}")
                tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
                text = "".join(choice["delta"].get("content") or "" for choice in event["choices"])
                _add(pieces, event["system_fingerprint"], text)
        if response.status_code != httpx.codes.OK or last != "data: [DONE]" or tokens != TOKENS:
            raise AssertionError(f"{response.status_code}, {tokens} tokens: {last}")
        return pieces

    def _wrong(self, made: _Streams) -> list[str]:
        """Answers of one version must be that version's own; those of two must begin as the first one does."""
        wrong = []
        for number, pieces in made.said:
            if strangers := {fingerprint for fingerprint, _ in pieces} - self._expected.keys():
                wrong.append(f"unknown version {strangers}")
                continue
            own = self._expected[pieces[0][0]][number]
            self._report.compared += 1
            if own != pieces[0][1] if len(pieces) == 1 else not own.startswith(pieces[0][1]):
                wrong.append(f"{QUESTIONS[number]}: {pieces[0][1]!r} and not {own!r}")
        return wrong

    async def _command(self, *arguments: str) -> str:
        done = await asyncio.to_thread(tidegate, self._cluster.folder, *arguments)
        if done.returncode:
            raise AssertionError(f"tidegate {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout


def _modes(swaps: int) -> list[SwapMode]:
    """Half of them without a hold, so that running answers always cross."""
    return [mode for mode, _ in zip(cycle((SwapMode.RECOMPUTE, SwapMode.FINISH)), range(swaps), strict=False)]


def _add(pieces: list[tuple[str, str]], fingerprint: str, text: str) -> None:
    if pieces and pieces[-1][0] == fingerprint:
        pieces[-1] = (fingerprint, pieces[-1][1] + text)
    elif text or not pieces:
        pieces.append((fingerprint, text))


def _body(number: int) -> dict[str, Any]:
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": QUESTIONS[number]}],
        "max_tokens": TOKENS,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
