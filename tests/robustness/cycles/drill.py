"""One drill: versions are published and rolled out, one after the other, while requests come at a steady rate."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import cycle
from random import Random

import httpx

from services.cli.clients import rollouts
from services.cli.clients.rollouts import Asker, Rollout, Way
from services.shared.registry import Reference, Registry
from services.shared.swap_mode import SwapMode
from tests.robustness.cycles.load import Load, load
from tests.robustness.swaps.drill import store_of
from tests.support.cluster import RunningCluster, tidegate
from tests.support.plain_http import no_certificates

POOL, MODEL = "tide", "simulated"
OPTIONS = ("--routers", "2")
BACK_EVERY = 10
"""Each so many cycles, the pool goes back to the version before and forth again, instead of to a new version."""
TIMEOUT_S = 120.0
_CALM_S = 0.3


def config(workers: int) -> str:
    """The configuration of the cluster."""
    engine = "kind: simulated, max_running: 32, step_ms: 5, swap_ms: 100"
    return f"pools: [{{name: {POOL}, model: {MODEL}, workers: {workers}, engine: {{{engine}}}}}]\n"


@dataclass(frozen=True, slots=True)
class Cycle:
    """One rollout: where to, in which mode, how it ended, and the seconds that publishing and rollout took."""

    version: str
    mode: SwapMode
    rollout: Rollout
    published_s: float
    rolled_s: float
    requests: int


@dataclass(slots=True)
class Report:
    """What was seen. `weights`: SHA-256 of each version's weights, by its fingerprint."""

    cycles: list[Cycle]
    load: Load
    weights: dict[str, str]
    seconds: float

    def violations(self) -> list[str]:
        """What was wrong; nothing, if all is well."""
        failed = [
            f"cycle {number}: the rollout is {done.rollout.state}: {done.rollout.reason}"
            for number, done in enumerate(self.cycles)
            if done.rollout.state != "done"
        ]
        seen = {piece.fingerprint for answer in self.load.answers for piece in answer.pieces}
        unseen = [f"no answer of {version}" for version in set(self.weights) - seen]
        return [*failed, *unseen, *self.load.violations(self.weights)]


async def drill(cluster: RunningCluster, cycles: int, per_second: float, seed: int) -> Report:
    """Runs the drill on a cluster with `config`."""
    async with _client(cluster) as http:
        return await _Drill(cluster, http, Random(seed)).run(cycles, per_second)


class _Drill:
    def __init__(self, cluster: RunningCluster, http: httpx.AsyncClient, random: Random) -> None:
        self._cluster, self._http, self._random = cluster, http, random
        self._registry = Registry(store_of(cluster))
        self._weights: dict[str, str] = {}
        self._cycles: list[Cycle] = []

    async def run(self, cycles: int, per_second: float) -> Report:
        now = asyncio.get_running_loop().time
        versions = [await self._know("latest")]
        async with load(self._http, POOL, per_second, self._random) as made:
            began = now()
            await asyncio.sleep(_CALM_S)
            for number, mode in zip(range(cycles), cycle(SwapMode), strict=False):
                if number % BACK_EVERY == BACK_EVERY - 1:
                    for back in versions[-2:]:
                        await self._roll(back, mode, made, 0.0)
                    continue
                asked = now()
                versions.append(await self._publish(number))
                await self._roll(versions[-1], mode, made, now() - asked)
            await asyncio.sleep(_CALM_S)
            seconds = now() - began
        return Report(self._cycles, made, self._weights, seconds)

    async def _roll(self, version: str, mode: SwapMode, made: Load, published_s: float) -> None:
        now = asyncio.get_running_loop().time
        began, before = now(), len(made.answers)
        routers = self._cluster.record.addresses.routers
        started = await rollouts.start(routers, POOL, version, Way(mode=mode), Asker(who="drill"))
        ended = await rollouts.follow(routers, started, lambda _: None)
        await asyncio.sleep(_CALM_S)
        self._cycles.append(Cycle(version, mode, ended, published_s, now() - began, len(made.answers) - before))

    async def _publish(self, number: int) -> str:
        arguments = ("models", "import", f"simulated:{1000 + number}", "--name", MODEL, "--json")
        done = await asyncio.to_thread(tidegate, self._cluster.folder, *arguments)
        if done.returncode:
            raise AssertionError(f"tidegate {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return await self._know(json.loads(done.stdout)["version"])

    async def _know(self, which: str) -> str:
        manifest = await self._registry.resolve(Reference(MODEL, which))
        self._weights[f"fp_{manifest.version[:12]}"] = manifest.weights_sha256
        return manifest.version


@asynccontextmanager
async def _client(cluster: RunningCluster) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {cluster.key}"}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(
        base_url=f"{cluster.rest}/",
        headers=headers,
        timeout=TIMEOUT_S,
        limits=limits,
        trust_env=False,
        verify=no_certificates(),
    ) as http:
        yield http
