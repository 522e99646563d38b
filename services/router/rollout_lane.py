"""What a rollout brings to a pool: versions of its model, or of its speculator. Each has a record and a history."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.router.core.rollout_record import Member, Outcome
from services.router.queue.snapshot import WorkerRow
from tidegate.router.v1 import router_pb2 as pb

_OUTCOMES: "Mapping[pb.DeliveryPhase.ValueType, Outcome]" = {
    pb.DELIVERY_PHASE_COMMITTED: Outcome.COMMITTED,
    pb.DELIVERY_PHASE_FAILED: Outcome.FAILED,
    pb.DELIVERY_PHASE_NEEDS_RESTART: Outcome.NEEDS_RESTART,
}


@dataclass(frozen=True, slots=True)
class Lane:
    """The names of a record and of its history in Redis, and which versions of a worker it is about."""

    record: str
    history: str
    speculator: bool = False

    @property
    def what(self) -> str:
        """For people."""
        return "speculator" if self.speculator else "model"

    def version(self, beat: pb.Heartbeat) -> str:
        """The version that a worker has; "" for none."""
        return beat.speculator_version if self.speculator else beat.model_version

    def delivery(self, beat: pb.Heartbeat) -> pb.Delivery | None:
        """How the last update that the worker was asked for stands."""
        if self.speculator:
            return beat.speculator_delivery if beat.HasField("speculator_delivery") else None
        return beat.delivery if beat.HasField("delivery") else None

    def member(self, row: WorkerRow) -> Member:
        """A worker as rollouts see it."""
        beat = row.heartbeat
        delivery = self.delivery(beat)
        return Member(
            worker_id=beat.worker_id,
            epoch=beat.epoch,
            state=row.state,
            version=self.version(beat),
            delivery_id=delivery.delivery_id if delivery else "",
            outcome=_OUTCOMES.get(delivery.phase, Outcome.UNDER_WAY) if delivery else None,
            reason=delivery.reason if delivery else "",
        )


MODEL = Lane("rollout", "rollouts")
SPECULATOR = Lane("speculator", "speculators", speculator=True)
