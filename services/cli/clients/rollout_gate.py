"""The gate of a rollout as the router shows it: both versions side by side, and the verdict."""

from pydantic import BaseModel, ConfigDict

from services.shared.classes import ServiceClass
from tidegate.router.v1 import router_pb2 as pb


class GateFigure(BaseModel):
    """One figure of one class.

    Attributes:
        old: A part of requests (errors, structured), seconds (ttft, tpot) or tokens (length); None without requests.
        new: The same.
        bound: By how much `new` may be worse; None: it is not judged.
        worse: It is worse by more than the bound, beyond chance.
    """

    model_config = ConfigDict(frozen=True)

    service_class: str
    figure: str
    old: float | None
    new: float | None
    bound: float | None
    old_requests: int
    new_requests: int
    worse: bool

    @classmethod
    def of(cls, figure: pb.GateFigure) -> "GateFigure":
        """From the proto message."""
        return cls(
            service_class=ServiceClass.of_proto(figure.service_class).label,
            figure=figure.figure,
            old=figure.old_value if figure.HasField("old_value") else None,
            new=figure.new_value if figure.HasField("new_value") else None,
            bound=figure.bound if figure.HasField("bound") else None,
            old_requests=figure.old_requests,
            new_requests=figure.new_requests,
            worse=figure.worse,
        )

    @property
    def is_rate(self) -> bool:
        """Whether the values are parts of requests."""
        return self.figure in ("errors", "structured")

    @property
    def change(self) -> float | None:
        """The difference of rates, or the relative difference of other values; None if a value is missing."""
        if self.old is None or self.new is None:
            return None
        return self.new - self.old if self.is_rate else self.new / self.old - 1


class Gate(BaseModel):
    """What the gate says. `decision` is wait, pass or fail; `opened`, in Unix seconds, when the comparison began."""

    model_config = ConfigDict(frozen=True)

    decision: str
    reason: str
    opened: float | None
    figures: tuple[GateFigure, ...]

    @classmethod
    def of(cls, gate: pb.GateVerdict) -> "Gate":
        """From the proto message."""
        return cls(
            decision=pb.GateDecision.Name(gate.decision).removeprefix("GATE_DECISION_").lower(),
            reason=gate.reason,
            opened=gate.opened_ms / 1000 if gate.opened_ms else None,
            figures=tuple(map(GateFigure.of, gate.figures)),
        )
