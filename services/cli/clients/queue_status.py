"""The state of the queues and their rules, by pool and class, from the router."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from services.cli.clients.control import ANSWER_LIMIT_S, call
from services.shared.classes import ServiceClass
from tidegate.router.v1 import router_pb2 as pb


class ClassPolicy(BaseModel):
    """The rules of a class, with the fields of the proto message ClassPolicy. `ageing_ms` 0 means never."""

    model_config = ConfigDict(frozen=True)

    max_queued: int
    max_queued_tokens: int
    max_wait_ms: int
    ttft_objective_ms: int
    ageing_ms: int
    preempts: bool
    preemptible: bool

    @classmethod
    def of(cls, policy: pb.ClassPolicy) -> "ClassPolicy":
        """From the proto message."""
        return cls(**{name: getattr(policy, name) for name in cls.model_fields})


class ClassStatus(BaseModel):
    """The queue of one class in one pool."""

    model_config = ConfigDict(frozen=True)

    service_class: str
    queued: int
    queued_tokens: int
    running: int
    expected_wait_ms: int
    policy: ClassPolicy


class PoolStatus(BaseModel):
    """The queues of one pool."""

    model_config = ConfigDict(frozen=True)

    pool: str
    placement: str
    ready_workers: int
    desired_workers: int
    granted: int
    classes: tuple[ClassStatus, ...]

    @classmethod
    def of(cls, status: pb.PoolStatus) -> "PoolStatus":
        """From the proto message."""
        return cls(
            pool=status.pool.name,
            placement=status.placement,
            ready_workers=status.pool.ready_workers,
            desired_workers=status.desired_workers,
            granted=status.granted,
            classes=tuple(map(_class_status, status.classes)),
        )


async def queue_status(routers: Sequence[str]) -> list[PoolStatus]:
    """The queues of every pool, sorted by the pool's name.

    Raises:
        CommandFailed: No router answers.
    """
    response = await call(routers, lambda stub: stub.ListPools(pb.ListPoolsRequest(), timeout=ANSWER_LIMIT_S))
    return sorted(map(PoolStatus.of, response.pools), key=lambda pool: pool.pool)


async def set_policy(
    routers: Sequence[str], pool: str, service_class: ServiceClass, change: pb.ClassPolicy
) -> ClassPolicy:
    """Changes the rules of a class: only those that are set in `change`.

    Returns:
        All rules after the change.

    Raises:
        CommandFailed: No router answers, or the router refused the change.
    """
    request = pb.SetClassPolicyRequest(pool=pool, service_class=service_class.proto, policy=change)
    response = await call(routers, lambda stub: stub.SetClassPolicy(request, timeout=ANSWER_LIMIT_S))
    return ClassPolicy.of(response.policy)


def _class_status(status: pb.ClassStatus) -> ClassStatus:
    return ClassStatus(
        service_class=ServiceClass.of_proto(status.service_class).label,
        queued=status.queued,
        queued_tokens=status.queued_tokens,
        running=status.running,
        expected_wait_ms=status.expected_wait_ms,
        policy=ClassPolicy.of(status.policy),
    )
