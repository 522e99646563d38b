"""Bringing a pool to a new version: asking the router for a rollout, and waiting until it has ended."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import TypeVar

import grpc

from services.shared.certificates import Tls
from services.shared.clock import Clock
from services.shared.evaluation_message import evaluation_message
from services.shared.manifests import Manifest
from services.shared.objectstore import ObjectStore
from services.shared.registry import Reference
from services.shared.rpc import channel
from tidegate.router.v1 import router_pb2 as pb
from tidegate.router.v1.router_pb2_grpc import ControlServiceStub
from trainer.publish import point
from trainer.served_checks import NotServed, ServedChecks, Verdict

ASK_LIMIT_S = 10.0
POLL_S = 0.5
SILENCE_LIMIT_S = 60.0
"""Routers may restart during a rollout. After this time without an answer, the run gives up, not the rollout."""
_AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)

Response = TypeVar("Response")


MAX_WHY = 500
"""Characters of a reason in the history of rollouts."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a version is proved on its way. in_steps: it is a canary, whatever the pool's policy is."""

    in_steps: bool = False
    checks: ServedChecks | None = None


class NotAnnounced(Exception):
    """No router took the rollout, or tells of it; the version is published all the same."""


class RolloutFailed(Exception):
    """The rollout did not end well; the version is published all the same, and no alias that pools follow has moved."""


class Announcer:
    """Tells the routers of a new version.

    Args:
        store: The registry's.
        routers: host:port of each.
        tls: None means plain text.
        clock: For the delays between two questions.
        random: For the delays when somebody else moves the alias.
    """

    def __init__(
        self, store: ObjectStore, routers: Sequence[str], tls: Tls | None, *, clock: Clock, random: Random
    ) -> None:
        self._store, self._routers, self._tls = store, routers, tls
        self._clock, self._random = clock, random

    async def roll_out(self, pool: str, manifest: Manifest, *, limit_s: float, way: Way | None = None) -> None:
        """Brings a pool to a version of the model of the same name, and then the alias that the pool follows.

        So does `tidegate models promote`: an alias never names a version that no rollout has proved.

        Args:
            pool: Name of the pool.
            manifest: Of the version.
            limit_s: Seconds that the rollout may take.
            way: How the version is proved on its way. Default: as the pool says.

        Raises:
            NotAnnounced: No router took the rollout, or none tells how it goes.
            RolloutFailed: It failed, another one took its place, it has not ended in time, or the answers of the
                candidate were not as `way.checks` wants them.
            StoreError: The alias was not moved.
        """
        version, way = manifest.version, way or Way()
        what = f"the rollout of {pool} to {version[:12]}"
        rollout = await self._start(what, pool, manifest, in_steps=way.in_steps)
        began, followed = self._clock.monotonic(), rollout.rollout_id
        verdict: Verdict | None = None
        while not rollout.ended_ms:
            if self._clock.monotonic() - began > limit_s:
                raise RolloutFailed(f"{what} has not ended within {limit_s:g} s; it goes on")
            await self._clock.sleep(POLL_S)
            rollout = await self._last(what, pool)
            if rollout.rollout_id != followed:
                raise RolloutFailed(f"{what} has ended: another one, to {rollout.model_version[:12]}, has begun")
            if way.checks and verdict is None and _serves(rollout):
                verdict = await self._check(way.checks, pool, version)
            if verdict and not verdict.is_good and not rollout.ended_ms:
                await self._stop(what, pool, str(verdict))
        if rollout.state != pb.ROLLOUT_STATE_DONE:
            raise RolloutFailed(f"{what} failed: {verdict if verdict and not verdict.is_good else rollout.reason}")
        if way.checks and verdict is None:
            verdict = await self._last_check(what, way.checks, pool, version)
        if verdict and not verdict.is_good:
            raise RolloutFailed(
                f"{what} was done before it could be stopped: {verdict}. No alias has moved; go back:"
                f" tidegate rollout start {pool} {rollout.previous_version[:12]}"
            )
        pools = await self._ask(what, lambda router: router.ListPools(pb.ListPoolsRequest(), timeout=ASK_LIMIT_S))
        alias = {status.pool.name: Reference.parse(status.model) for status in pools.pools}.get(pool)
        if alias and alias.model == pool and not alias.is_version:
            await point(self._store, alias, version, clock=self._clock, random=self._random)

    async def _check(self, checks: ServedChecks, pool: str, version: str) -> Verdict | None:
        """None: the candidate did not answer yet."""
        try:
            return await checks.ask(pool, version)
        except NotServed:
            return None

    async def _last_check(self, what: str, checks: ServedChecks, pool: str, version: str) -> Verdict:
        """Every worker has the version now: whoever answers, it is the candidate. Raises RolloutFailed."""
        began = self._clock.monotonic()
        while True:
            try:
                return await checks.ask(pool, version)
            except NotServed as error:
                if self._clock.monotonic() - began > SILENCE_LIMIT_S:
                    raise RolloutFailed(f"{what} is done, but its generation checks were not: {error}") from None
            await self._clock.sleep(POLL_S)

    async def _stop(self, what: str, pool: str, why: str) -> None:
        """Changed workers go back. A router that cannot do it now is asked again, and one whose rollout has ended."""
        stop = pb.StopRolloutRequest(pool=pool, who="trainer", why=why[:MAX_WHY])
        with suppress(NotAnnounced):
            await self._ask(f"stopping {what}", lambda router: router.StopRollout(stop, timeout=ASK_LIMIT_S))

    async def _start(self, what: str, pool: str, manifest: Manifest, *, in_steps: bool) -> pb.Rollout:
        """The new rollout, or the one that an earlier attempt of this run has started. Raises NotAnnounced."""

        async def running(router: ControlServiceStub) -> pb.Rollout | None:
            try:
                last = (await router.GetRollout(pb.GetRolloutRequest(pool=pool), timeout=ASK_LIMIT_S)).rollout
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.NOT_FOUND:
                    return None
                raise
            return last if not last.ended_ms and last.model_version == manifest.version else None

        if rollout := await self._ask(what, running):
            return rollout
        start = pb.StartRolloutRequest(
            pool=pool,
            model_version=manifest.version,
            policy=pb.ROLLOUT_POLICY_CANARY if in_steps else pb.ROLLOUT_POLICY_UNSPECIFIED,
            evaluation=evaluation_message(manifest),
            who="trainer",
            why="a recipe",
        )
        return (await self._ask(what, lambda router: router.StartRollout(start, timeout=ASK_LIMIT_S))).rollout

    async def _last(self, what: str, pool: str) -> pb.Rollout:
        """The pool's last rollout; routers that are away are asked again for SILENCE_LIMIT_S. Raises NotAnnounced."""
        heard_at, request = self._clock.monotonic(), pb.GetRolloutRequest(pool=pool)
        while True:
            try:
                return (await self._ask(what, lambda router: router.GetRollout(request, timeout=ASK_LIMIT_S))).rollout
            except NotAnnounced:
                if self._clock.monotonic() - heard_at > SILENCE_LIMIT_S:
                    raise
            await self._clock.sleep(POLL_S)

    async def _ask(self, what: str, request: Callable[[ControlServiceStub], Awaitable[Response]]) -> Response:
        """The answer of the first router that can be reached. Raises NotAnnounced."""
        trouble = "no router is known (TIDEGATE_ROUTERS)"
        for address in self._routers:
            try:
                async with channel(address, self._tls) as opened:
                    return await request(ControlServiceStub(opened))
            except grpc.aio.AioRpcError as error:
                trouble = f"router {address}: {error.code().name} {error.details()}"
                if error.code() not in _AWAY:
                    break
        raise NotAnnounced(f"{what}: {trouble}")


def _serves(rollout: pb.Rollout) -> bool:
    """Whether a worker is ready with the new version."""
    return any(
        worker.state == pb.WORKER_STATE_READY and worker.model_version == rollout.model_version
        for worker in rollout.workers
    )
