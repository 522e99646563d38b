"""One drill: rollouts under answers of minutes, in each mode; workers and routers are killed, and clients leave."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle
from random import Random
from typing import Any

import httpx
import psutil

from services.local import secrets
from services.local.data_folder import DataFolder
from services.shared.objectstore import ObjectStore, StoreSettings, connect
from services.shared.registry import Reference, Registry
from services.shared.swap_mode import SwapMode
from tests.robustness.swaps.answer import LongAnswer
from tests.support.cluster import RunningCluster, tidegate
from tests.support.wait import wait_until

HOLD_S, SWAP_MS = 0.5, 1000
STEP_MS, TOKENS = 20, 6000
"""An answer takes two minutes."""
ANSWERS, SHORT_TOKENS = 3, 3
ROLLOUT_S = 20.0
"""A rollout must end in this time, whatever runs."""
PATIENCE_S = 120.0
"""For what a fault breaks to come back."""
FAULTS = ("none", "client", "router", "worker")
SOURCES = ("simulated:11", "simulated:12")


def config(workers: int) -> str:
    """The configuration of a cluster."""
    engine = f"kind: simulated, context_tokens: 8192, kv_tokens: 131072, step_ms: {STEP_MS}, swap_ms: {SWAP_MS}"
    pool = f"name: tide, model: simulated, workers: {workers}, weight_updates: {{hold_s: {HOLD_S}}}"
    return (
        f"pools: [{{{pool}, engine: {{{engine}, max_running: 16}}}}]\n"
        f"classes: {{default: {{max_wait_s: {PATIENCE_S}}}}}"
    )


@dataclass(slots=True)
class Report:
    """What was seen, and what was wrong.

    Attributes:
        rollouts: How long each took, by mode and fault, in seconds.
        waits: The longest wait of a short request during each.
        crossings: Changes of version within long answers.
        violations: What was wrong; nothing, if all is well.
    """

    rollouts: list[tuple[str, float]] = field(default_factory=list)
    waits: list[tuple[str, float]] = field(default_factory=list)
    crossings: int = 0
    violations: list[str] = field(default_factory=list)


async def drill(cluster: RunningCluster, rounds: int, seed: int) -> Report:
    """Runs rollouts, one after another, on a cluster with `config`."""
    headers = {"authorization": f"Bearer {cluster.key}"}
    async with httpx.AsyncClient(base_url=f"{cluster.rest}/", headers=headers, timeout=PATIENCE_S) as http:
        return await _Drill(cluster, http, Random(seed)).run(rounds)


class _Drill:
    def __init__(self, cluster: RunningCluster, http: httpx.AsyncClient, random: Random) -> None:
        self._cluster, self._http, self._random = cluster, http, random
        self._report = Report()
        self._weights: dict[str, str] = {}
        self._answers: list[LongAnswer] = []
        self._reading: dict[int, asyncio.Task[None]] = {}
        self._asked = 0

    async def run(self, rounds: int) -> Report:
        for number, source in enumerate(SOURCES):
            await self._command("models", "import", source, "--name", "simulated", "--alias", f"version-{number}")
        registry = Registry(store_of(self._cluster))
        for alias in ("latest", *(f"version-{number}" for number in range(len(SOURCES)))):
            manifest = await registry.resolve(Reference("simulated", alias))
            self._weights[f"fp_{manifest.version[:12]}"] = manifest.weights_sha256
        plan = [(mode, fault) for fault in FAULTS for mode in SwapMode]
        for number, (mode, fault) in zip(range(rounds), cycle(plan), strict=False):
            await self._round(f"version-{number % 2}", mode, fault)
        for task in self._reading.values():
            task.cancel()
        await asyncio.gather(*self._reading.values(), return_exceptions=True)
        for answer in self._answers:
            self._report.crossings += len(answer.pieces) - 1
            if wrong := answer.wrong(self._weights, TOKENS):
                self._report.violations.append(wrong)
        return self._report

    async def _round(self, version: str, mode: SwapMode, fault: str) -> None:
        await self._fill()
        name, began = f"{mode}, fault: {fault}", time.monotonic()
        async with self._others(name, bounded=fault in ("none", "client")):
            await self._command("rollout", "start", "simulated", version, "--mode", mode, "--no-wait")
            await asyncio.sleep(self._random.uniform(0, HOLD_S + SWAP_MS / 1000))
            await self._break(fault)
            state = await self._ended(PATIENCE_S if fault == "worker" else ROLLOUT_S)
        self._report.rollouts.append((name, time.monotonic() - began))
        if state != "done" and fault != "worker":
            self._report.violations.append(f"{name}: the rollout is {state}")
        await self._go_on(name)

    async def _fill(self) -> None:
        """So many long answers run, and have begun."""
        self._reading = {number: task for number, task in self._reading.items() if not task.done()}
        while len(self._reading) < ANSWERS:
            answer = LongAnswer(f"Question {self._asked}")
            self._answers.append(answer)
            self._reading[self._asked] = asyncio.create_task(self._read(answer))
            self._asked += 1
        running = [self._answers[number] for number in self._reading]
        await wait_until(lambda: all(a.length for a in running), description="long answers run", timeout=PATIENCE_S)

    async def _go_on(self, name: str) -> None:
        """Every long answer that its client has not left goes on, if it is not complete."""
        running = {number: self._answers[number].length for number, task in self._reading.items() if not task.done()}

        def moves(number: int, before: int) -> bool:
            return self._answers[number].length > before or self._reading[number].done()

        try:
            await wait_until(
                lambda: all(moves(*each) for each in running.items()), description="they go on", timeout=PATIENCE_S
            )
        except AssertionError:
            self._report.violations.append(f"{name}: a long answer stands still")

    async def _read(self, answer: LongAnswer) -> None:
        body = _body(answer.question, TOKENS) | {"stream": True}
        try:
            async with self._http.stream("POST", "chat/completions", json=body) as response:
                async for line in response.aiter_lines():
                    if line.startswith("data: {"):
                        answer.take(json.loads(line.removeprefix("data: ")))
                    if response.status_code != httpx.codes.OK:
                        answer.failure = f"{response.status_code}: {line}"
        except httpx.HTTPError as error:
            answer.failure = f"{type(error).__name__}: {error}"

    async def _break(self, fault: str) -> None:
        if fault == "client":
            self._reading.pop(self._random.choice(list(self._reading))).cancel()
        elif fault in ("router", "worker"):
            processes = [p for p in self._cluster.record.processes if p.name.startswith(fault) and p.pid]
            psutil.Process(self._random.choice(processes).pid).kill()

    async def _ended(self, within_s: float) -> str:
        """The state of the rollout at its end, or when the time is over."""
        until = time.monotonic() + within_s
        while True:
            said = await self._command("rollout", "status", "--no-wait", "--json", may_fail=True)
            state: str = json.loads(said)["state"] if said else "not known"
            if state in ("done", "failed") or time.monotonic() > until:
                return state
            await asyncio.sleep(0.2)

    @asynccontextmanager
    async def _others(self, name: str, *, bounded: bool) -> AsyncIterator[None]:
        """Short requests, one after another. None may fail; `bounded`: none may wait longer than a rollout."""
        seconds: list[float] = []

        async def ask() -> None:
            while True:
                began = time.monotonic()
                answer = await self._http.post("chat/completions", json=_body("And you?", SHORT_TOKENS))
                seconds.append(time.monotonic() - began)
                if answer.status_code != httpx.codes.OK:
                    self._report.violations.append(f"{name}: a short request: {answer.status_code} {answer.text}")

        asking = asyncio.create_task(ask())
        try:
            yield
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        if seconds:
            self._report.waits.append((name, max(seconds)))

    async def _command(self, *arguments: str, may_fail: bool = False) -> str:
        """Runs a `tidegate` command beside the load, and returns what it prints."""
        done = await asyncio.to_thread(tidegate, self._cluster.folder, *arguments)
        if done.returncode and not may_fail:
            raise AssertionError(f"tidegate {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout


def store_of(cluster: RunningCluster) -> ObjectStore:
    """The object store of a cluster."""
    keys = secrets.load_or_create(DataFolder.at(cluster.folder / ".tidegate"))
    settings = StoreSettings(
        s3_endpoint=cluster.record.addresses.s3, s3_access_key=keys.s3_access_key, s3_secret_key=keys.s3_secret_key
    )
    return connect(settings)


def _body(question: str, tokens: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}]
    return {"model": "tide", "messages": messages, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
