"""Rollouts of model versions: start, pause, abort and follow them through the router, and read their history."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum

import grpc
from pydantic import BaseModel, ConfigDict

from services.cli.clients.control import ANSWER_LIMIT_S, NoRouter, call
from services.cli.clients.gateway import GatewayApi
from services.cli.clients.rollout_gate import Gate
from services.cli.errors import CommandFailed
from services.cli.steps import CanaryStep
from services.shared.swap_mode import SwapMode
from tidegate.router.v1 import router_pb2 as pb
from tidegate.router.v1.router_pb2_grpc import ControlServiceStub

POLL_S = 0.25
SILENCE_LIMIT_S = 30.0
"""Routers may restart during a rollout. After this time without an answer, the command gives up, not the rollout."""


class Policy(StrEnum):
    """How a rollout goes through a pool."""

    ROLLING = "rolling"
    CANARY = "canary"
    ALL_AT_ONCE = "all_at_once"


class Asker(BaseModel):
    """Who asks for a change, and why, for the history."""

    model_config = ConfigDict(frozen=True)

    who: str = ""
    why: str = ""


class Way(BaseModel):
    """How a rollout is to go.

    `speculator`: of the pool's speculator, and not of its model.
    `policy`, `at_once` and `mode` are None for the pool's settings. `finish_s`: seconds that requests of a worker get
    that no other one can continue; None for the worker's own setting. `mode`: what happens to requests that run when a
    worker's weights change. `without_steps`: a way back, on which a canary goes worker by worker. `steps`: of a canary,
    in place of the pool's. `hold_s`: for which each step holds. `observe_s`: for which the last worker of the old
    version stays. Both are None for the pool's settings.
    """

    model_config = ConfigDict(frozen=True)

    policy: Policy | None = None
    at_once: int | None = None
    finish_s: float | None = None
    mode: SwapMode | None = None
    without_steps: bool = False
    steps: tuple[CanaryStep, ...] = ()
    hold_s: float | None = None
    observe_s: float | None = None
    speculator: bool = False


class Step(BaseModel):
    """Where a canary is: in step `number` of `count`, and `count` + 1 is the whole pool."""

    model_config = ConfigDict(frozen=True)

    number: int
    count: int
    workers: int
    hold_left: float

    @classmethod
    def of(cls, step: pb.RolloutStep) -> "Step":
        """From the proto message."""
        return cls(number=step.number, count=step.count, workers=step.workers, hold_left=step.hold_left_ms / 1000)


class RolloutEvent(BaseModel):
    """What happened in a rollout. `at` is in Unix seconds; without `who` it was the router.

    `mode` is empty if a router of an earlier release has written the event.
    """

    model_config = ConfigDict(frozen=True)

    pool: str
    at: float
    event: str
    rollout: str
    version: str
    previous: str
    policy: str
    step: int
    who: str
    why: str
    mode: str = ""

    @classmethod
    def of(cls, pool: str, event: pb.RolloutEvent) -> "RolloutEvent":
        """From the proto message."""
        return cls(
            pool=pool,
            at=event.at_ms / 1000,
            event=_word(pb.RolloutEventKind.Name(event.kind), "ROLLOUT_EVENT_KIND_"),
            rollout=event.rollout_id,
            version=event.model_version,
            previous=event.previous_version,
            policy=_policy(event.policy),
            step=event.step,
            who=event.who,
            why=event.why,
            mode=_mode(event.mode),
        )


class RolloutWorker(BaseModel):
    """One worker of the pool. `phase` and `reason` describe its weight update, and are empty before it begins."""

    model_config = ConfigDict(frozen=True)

    id: str
    state: str
    version: str
    phase: str
    reason: str

    @classmethod
    def of(cls, worker: pb.RolloutWorker) -> "RolloutWorker":
        """From the proto message."""
        return cls(
            id=worker.worker_id,
            state=pb.WorkerState.Name(worker.state).removeprefix("WORKER_STATE_").lower(),
            version=worker.model_version,
            phase=_phase(worker.delivery.phase) if worker.HasField("delivery") else "",
            reason=worker.delivery.reason,
        )


class Rollout(BaseModel):
    """The last rollout of a pool.

    `state` is rolling, undoing, done or failed. `started` and `ended` are Unix seconds. `paused_by` is empty unless it
    is paused. `admitted` is the only version that requests may start on, or empty for any. `mode` is what workers do
    with requests that run, or empty if a router of an earlier release does not say.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    pool: str
    version: str
    previous: str
    state: str
    reason: str
    started: float
    ended: float | None
    workers: tuple[RolloutWorker, ...]
    policy: str = "rolling"
    at_once: int = 1
    step: Step | None = None
    paused_by: str = ""
    admitted: str = ""
    who: str = ""
    why: str = ""
    gate: Gate | None = None
    mode: str = ""
    speculator: bool = False

    @classmethod
    def of(cls, rollout: pb.Rollout) -> "Rollout":
        """From the proto message."""
        return cls(
            id=rollout.rollout_id,
            pool=rollout.pool,
            version=rollout.model_version,
            previous=rollout.previous_version,
            state=pb.RolloutState.Name(rollout.state).removeprefix("ROLLOUT_STATE_").lower(),
            reason=rollout.reason,
            started=rollout.started_ms / 1000,
            ended=rollout.ended_ms / 1000 if rollout.ended_ms else None,
            workers=tuple(sorted(map(RolloutWorker.of, rollout.workers), key=lambda worker: worker.id)),
            policy=_policy(rollout.policy),
            at_once=rollout.at_once,
            step=Step.of(rollout.step) if rollout.HasField("step") else None,
            paused_by=rollout.paused_by,
            admitted=rollout.admitted_version,
            who=rollout.who,
            why=rollout.why,
            gate=Gate.of(rollout.gate) if rollout.HasField("gate") else None,
            mode=_mode(rollout.mode),
            speculator=rollout.speculator,
        )

    @property
    def goal(self) -> str:
        """The version that the workers are being brought to."""
        return self.version if self.state in ("rolling", "done") else self.previous

    @property
    def workers_at_goal(self) -> int:
        """How many workers serve the goal already."""
        return sum(worker.version == self.goal for worker in self.workers)

    def check(self) -> None:
        """Checks that the rollout has not failed.

        Raises:
            CommandFailed: It failed.
        """
        if self.state in ("undoing", "failed"):
            now = f"{self.workers_at_goal} of {len(self.workers)} workers serve {self.previous[:12] or 'no version'}"
            raise CommandFailed(f"the rollout of {self.version[:12]} failed: {self.reason}\n{now}")


async def start(
    routers: Sequence[str],
    pool: str,
    version: str,
    way: Way,
    asker: Asker,
    evaluation: Mapping[str, pb.Evaluated] | None = None,
) -> Rollout:
    """Starts a rollout.

    Args:
        routers: host:port of each router.
        pool: Name of the pool.
        version: The full version.
        way: How it is to go.
        asker: Who asks, and why.
        evaluation: What the manifest has; the router refuses a version that is worse than its gate allows.

    Raises:
        CommandFailed: No router answers, or the router refused.
    """
    request = pb.StartRolloutRequest(
        pool=pool,
        model_version=version,
        evaluation=evaluation,
        finish_timeout_ms=max(1, int(way.finish_s * 1000)) if way.finish_s is not None else 0,
        policy=pb.RolloutPolicy.Value(f"ROLLOUT_POLICY_{(way.policy or 'unspecified').upper()}"),
        at_once=way.at_once or 0,
        who=asker.who,
        why=asker.why,
        without_steps=way.without_steps,
        mode=pb.SwapMode.Value(way.mode.proto_name) if way.mode else pb.SWAP_MODE_UNSPECIFIED,
        steps=map(_canary_step, way.steps),
        hold_ms=_ms(way.hold_s),
        observe_ms=_ms(way.observe_s),
        speculator=way.speculator,
    )
    response = await call(routers, lambda stub: stub.StartRollout(request, timeout=ANSWER_LIMIT_S))
    return Rollout.of(response.rollout)


async def abort(routers: Sequence[str], pool: str, asker: Asker, *, speculator: bool = False) -> Rollout:
    """Gives the running rollout of a pool up; workers that have changed go back.

    Raises:
        CommandFailed: No router answers, or no rollout runs.
    """
    request = pb.StopRolloutRequest(pool=pool, who=asker.who, why=asker.why, speculator=speculator)
    return Rollout.of((await call(routers, lambda stub: stub.StopRollout(request, timeout=ANSWER_LIMIT_S))).rollout)


async def pause(routers: Sequence[str], pool: str, asker: Asker, *, speculator: bool = False) -> Rollout:
    """Lets no other worker of the pool begin to change.

    Raises:
        CommandFailed: No router answers, or no rollout goes forward.
    """
    request = pb.PauseRolloutRequest(pool=pool, who=asker.who, why=asker.why, speculator=speculator)
    return Rollout.of((await call(routers, lambda stub: stub.PauseRollout(request, timeout=ANSWER_LIMIT_S))).rollout)


async def resume(routers: Sequence[str], pool: str, asker: Asker, *, speculator: bool = False) -> Rollout:
    """Goes on with a paused rollout.

    Raises:
        CommandFailed: No router answers, or no rollout goes forward.
    """
    request = pb.ResumeRolloutRequest(pool=pool, who=asker.who, why=asker.why, speculator=speculator)
    return Rollout.of((await call(routers, lambda stub: stub.ResumeRollout(request, timeout=ANSWER_LIMIT_S))).rollout)


async def history(routers: Sequence[str], pool: str, *, speculator: bool = False) -> list[RolloutEvent]:
    """What happened in the rollouts of a pool, oldest first, as far as the routers keep it.

    Raises:
        CommandFailed: No router answers.
    """
    request = pb.ListRolloutEventsRequest(pool=pool, speculator=speculator)
    response = await call(routers, lambda stub: stub.ListRolloutEvents(request, timeout=ANSWER_LIMIT_S))
    return [RolloutEvent.of(pool, event) for event in response.events]


def kept_history(api: GatewayApi, pool: str | None, limit: int) -> list[RolloutEvent]:
    """What happened in rollouts as the gateways' database keeps it, oldest first.

    Args:
        api: A gateway.
        pool: Only of this pool; None: of all.
        limit: So many of the last events.

    Raises:
        CommandFailed: The gateway cannot be reached, or refuses the key.
    """
    rows = api.get("admin/rollouts", {"pool": pool, "limit": limit})["data"]
    return [RolloutEvent.model_validate(row | {"previous": row["previous_version"]}) for row in reversed(rows)]


async def last(routers: Sequence[str], pool: str, *, speculator: bool = False) -> Rollout:
    """The last rollout of a pool.

    Raises:
        CommandFailed: No router answers, or the pool never had a rollout.
    """
    request = pb.GetRolloutRequest(pool=pool, speculator=speculator)
    return Rollout.of((await call(routers, lambda stub: stub.GetRollout(request, timeout=ANSWER_LIMIT_S))).rollout)


async def find(routers: Sequence[str], pool: str, *, speculator: bool = False) -> Rollout | None:
    """The last rollout of a pool, or None when it never had one.

    Raises:
        CommandFailed: No router answers.
    """

    async def request(stub: ControlServiceStub) -> pb.Rollout | None:
        try:
            asked = pb.GetRolloutRequest(pool=pool, speculator=speculator)
            return (await stub.GetRollout(asked, timeout=ANSWER_LIMIT_S)).rollout
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise

    found = await call(routers, request)
    return Rollout.of(found) if found else None


async def follow(routers: Sequence[str], rollout: Rollout, changed: Callable[[Rollout], None]) -> Rollout:
    """Polls a rollout until it has ended.

    Args:
        routers: host:port of each router.
        rollout: The rollout to follow.
        changed: Called with the state of the rollout after each poll.

    Returns:
        The rollout at its end.

    Raises:
        NoRouter: No router has answered for SILENCE_LIMIT_S.
        CommandFailed: Another rollout of the same pool has started meanwhile.
    """
    heard_at, followed = _now(), rollout.id
    while rollout.ended is None:
        await asyncio.sleep(POLL_S)
        try:
            rollout, heard_at = await last(routers, rollout.pool, speculator=rollout.speculator), _now()
        except NoRouter:
            if _now() - heard_at > SILENCE_LIMIT_S:
                raise
        if rollout.id != followed:
            raise CommandFailed(f"{rollout.pool} has another rollout by now, to {rollout.version[:12]}")
        changed(rollout)
    return rollout


def _canary_step(step: CanaryStep) -> pb.CanaryStep:
    return pb.CanaryStep(share=step.share) if step.share else pb.CanaryStep(workers=step.workers)


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1000)


def _phase(phase: "pb.DeliveryPhase.ValueType") -> str:
    return pb.DeliveryPhase.Name(phase).removeprefix("DELIVERY_PHASE_").lower()


def _mode(mode: "pb.SwapMode.ValueType") -> str:
    return SwapMode.of_proto_name(pb.SwapMode.Name(mode)) or ""


def _policy(policy: "pb.RolloutPolicy.ValueType") -> str:
    """A router of an earlier release knows no policies, and goes worker by worker."""
    return _word(pb.RolloutPolicy.Name(policy), "ROLLOUT_POLICY_") if policy else Policy.ROLLING.value


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()


def _now() -> float:
    return asyncio.get_running_loop().time()
