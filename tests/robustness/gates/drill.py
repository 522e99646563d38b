"""One drill: versions of several kinds go to a canary under load, and routers are killed meanwhile."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

from services.cli.clients import rollouts
from services.cli.clients.control import NoRouter
from services.cli.clients.rollouts import Rollout
from tests.robustness.cluster_under_test import ClusterUnderTest
from tests.robustness.gates.kinds import Kind
from tests.robustness.request import Request, chat
from tests.robustness.workload import Workload
from tests.support.cluster import tidegate
from tests.support.wait import wait_until

POOL = "tide"
WORKERS = 2
TOKENS = 24
ROLLOUT_S = 300.0
ASK_EVERY_S = 0.25
KILL_AFTER_S = 8.0
OPTIONS = ("--routers", "2")


def config(hold_s: float, *, observed: bool = False) -> str:
    """A canary on one of WORKERS workers, for so many seconds; or all but one, while the last one is compared with."""
    way = f"policy: canary, steps: [{{replicas: 1, hold_s: {hold_s:g}}}]"
    if observed:
        way = f"policy: rolling, observe_s: {hold_s:g}"
    return f"""
pools:
  - name: tide
    model: simulated
    workers: {WORKERS + observed}
    engine: {{kind: simulated, max_running: 64, step_ms: 10, sequence_ms: 0.02, swap_ms: 50}}
    rollout: {{{way}, max_wait_s: 60}}
"""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one version.

    Attributes:
        kind: Its kind.
        killed: A router was killed meanwhile.
        state: How its rollout ended.
        reason: Why, if it failed.
        seconds: From the first worker that served it until its rollout went back, or had ended.
        requests: Requests to it that the gate knew of.
    """

    kind: Kind
    killed: bool
    state: str
    reason: str
    seconds: float
    requests: int

    @property
    def right(self) -> bool:
        """Whether the gate said what it must."""
        if not self.kind.figure:
            return self.state == "done"
        return self.state == "failed" and self.reason.startswith(f"{self.kind.figure} of ")

    def __str__(self) -> str:
        killed = ", a router killed" if self.killed else ""
        wrong = "" if self.right else "WRONG: "
        seen = f"{self.state} after {self.seconds:.1f} s and {self.requests} requests"
        return f"{wrong}{self.kind.name}{killed}: {seen} {self.reason}".rstrip()


class GateDrill:
    """Rolls versions out on one cluster.

    Attributes:
        failures: Requests that clients saw fail.
    """

    def __init__(
        self, cluster: ClusterUnderTest, folder: Path, *, per_second: float, seed: int, told: Callable[[object], None]
    ) -> None:
        self._cluster, self._folder, self._per_second, self._random = cluster, folder, per_second, Random(seed)
        self._routers = cluster.view.cluster.record.addresses.routers
        self._seeds = iter(range(1000 * (seed + 1), 1_000_000_000))
        self._told = told
        self.failures: list[str] = []

    async def run(self, kinds: Sequence[Kind], kills: Sequence[bool]) -> list[Result]:
        """Rolls one version of each kind out, one after another; `kills`: whether a router is killed meanwhile."""
        workload = Workload(self._cluster.view.target, self._random)
        running = asyncio.create_task(self._roll_all(kinds, kills))
        await workload.open_loop(self._pick, self._per_second, running)
        workload.close()
        self.failures += [f"{log.status} {log.error}" for log in workload.log if not log.complete or log.status != 200]
        return await running

    def _pick(self) -> Request:
        text = f"Where does tide number {self._random.randrange(10_000)} go?"
        return chat(text, max_tokens=TOKENS, ignore_eos=True, stream=True)

    async def _roll_all(self, kinds: Sequence[Kind], kills: Sequence[bool]) -> list[Result]:
        results = []
        for kind, kill in zip(kinds, kills, strict=True):
            results.append(await self._roll(kind, kill))
            self._told(results[-1])
        return results

    async def _roll(self, kind: Kind, kill: bool) -> Result:
        seed = next(self._seeds)
        source = await asyncio.to_thread(kind.write, self._folder / f"version-{seed}", seed)
        await self._command("models", "import", str(source), "--name", "simulated", "--alias", "next")
        await self._command("rollout", "start", "simulated", "next", "--no-wait")
        opened = await self._until(lambda rollout: bool(rollout.gate and rollout.gate.opened), "the gate is open")
        killing = asyncio.create_task(asyncio.to_thread(self._kill_a_router)) if kill else None
        await self._until(lambda rollout: rollout.state != "rolling", "the rollout has ended or goes back")
        seconds = time.time() - opened
        await self._until(lambda rollout: rollout.ended is not None, "the rollout has ended")
        if killing:
            await killing
        ended = await rollouts.last(self._routers, POOL)
        return Result(kind, kill, ended.state, ended.reason, seconds, _requests(ended))

    async def _until(self, reached: Callable[[Rollout], bool], description: str) -> float:
        """Returns when the comparison of the rollout began, in Unix seconds; 0 before it."""
        last: list[Rollout] = []

        async def is_reached() -> bool:
            with suppress(NoRouter):
                last[:] = [await rollouts.last(self._routers, POOL)]
            return bool(last) and reached(last[0])

        await wait_until(is_reached, description=description, timeout=ROLLOUT_S, every=ASK_EVERY_S)
        gate = last[0].gate
        return gate.opened or 0.0 if gate else 0.0

    def _kill_a_router(self) -> None:
        """Any replica may be the one that carries the rollout on. It comes back at once."""
        injector = self._cluster.injector
        time.sleep(KILL_AFTER_S)
        name = self._random.choice(injector.named("router"))
        injector.kill(name)
        injector.start(name)
        injector.wait_until_up([name], at_least=1)

    async def _command(self, *arguments: str) -> None:
        done = await asyncio.to_thread(tidegate, self._cluster.view.cluster.folder, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr


def _requests(rollout: Rollout) -> int:
    figures = rollout.gate.figures if rollout.gate else ()
    return sum(figure.new_requests for figure in figures if figure.figure == "errors")
