"""How the queues stand, as the router tells: by pool and class."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from services.cli.control_client import ASK_LIMIT_S, ask
from services.shared.classes import ServiceClass
from tidegate.router.v1 import router_pb2 as pb


class Policy(BaseModel):
    """The fields of ClassPolicy; an ageing of 0 is never."""

    model_config = ConfigDict(frozen=True)

    max_queued: int
    max_queued_tokens: int
    max_wait_ms: int
    ttft_objective_ms: int
    ageing_ms: int
    preempts: bool
    preemptible: bool

    @classmethod
    def of(cls, policy: pb.ClassPolicy) -> "Policy":
        return cls(**{name: getattr(policy, name) for name in cls.model_fields})


class ClassStanding(BaseModel):
    model_config = ConfigDict(frozen=True)

    service_class: str
    queued: int
    queued_tokens: int
    running: int
    expected_wait_ms: int
    policy: Policy


class PoolStanding(BaseModel):
    model_config = ConfigDict(frozen=True)

    pool: str
    placement: str
    ready_workers: int
    desired_workers: int
    granted: int
    classes: tuple[ClassStanding, ...]

    @classmethod
    def of(cls, status: pb.PoolStatus) -> "PoolStanding":
        return cls(
            pool=status.pool.name,
            placement=status.placement,
            ready_workers=status.pool.ready_workers,
            desired_workers=status.desired_workers,
            granted=status.granted,
            classes=tuple(map(_class, status.classes)),
        )


async def standing(routers: Sequence[str]) -> list[PoolStanding]:
    """Of every pool. Raises CommandFailed."""
    answer = await ask(routers, lambda stub: stub.ListPools(pb.ListPoolsRequest(), timeout=ASK_LIMIT_S))
    return sorted(map(PoolStanding.of, answer.pools), key=lambda pool: pool.pool)


async def set_policy(routers: Sequence[str], pool: str, service_class: ServiceClass, change: pb.ClassPolicy) -> Policy:
    """As it stands afterwards. Raises CommandFailed."""
    request = pb.SetClassPolicyRequest(pool=pool, service_class=service_class.proto, policy=change)
    answer = await ask(routers, lambda stub: stub.SetClassPolicy(request, timeout=ASK_LIMIT_S))
    return Policy.of(answer.policy)


def _class(status: pb.ClassStatus) -> ClassStanding:
    return ClassStanding(
        service_class=ServiceClass.of_proto(status.service_class).label,
        queued=status.queued,
        queued_tokens=status.queued_tokens,
        running=status.running,
        expected_wait_ms=status.expected_wait_ms,
        policy=Policy.of(status.policy),
    )
