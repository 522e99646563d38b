"""What people see of a gate."""

from services.cli.clients.rollout_gate import Gate
from services.cli.views.rollout_gate import gate_table
from tests.unit.cli.terminal import shown
from tidegate.router.v1 import router_pb2 as pb

VERDICT = pb.GateVerdict(
    decision=pb.GATE_DECISION_FAIL,
    reason="tpot of default: 26 ms",
    opened_ms=1500,
    figures=[
        pb.GateFigure(
            service_class=pb.SERVICE_CLASS_DEFAULT,
            figure="errors",
            old_value=0.0,
            new_value=0.0125,
            bound=0.002,
            old_requests=90,
            new_requests=80,
        ),
        pb.GateFigure(
            service_class=pb.SERVICE_CLASS_FLEX,
            figure="tpot",
            old_value=0.02,
            new_value=0.026,
            bound=0.15,
            old_requests=90,
            new_requests=80,
            worse=True,
        ),
        pb.GateFigure(service_class=pb.SERVICE_CLASS_FLEX, figure="length", old_value=91.4, old_requests=90),
    ],
)


def test_a_row_has_both_versions_the_bound_and_what_is_worse() -> None:
    gate = Gate.of(VERDICT)
    assert (gate.decision, gate.opened) == ("fail", 1.5)
    _, *rows = (line.split() for line in shown(gate_table(gate)))
    assert rows == [
        ["default", "errors", "0.00%", "1.25%", "+1.25%", "+0.20%", "90", "80"],
        ["flex", "tpot", "20", "ms", "26", "ms", "+30%", "+15%", "90", "80", "worse"],
        ["flex", "length", "91", "-", "-", "off", "90", "0"],
    ]


def test_before_a_comparison_there_is_only_a_verdict() -> None:
    gate = Gate.of(pb.GateVerdict(decision=pb.GATE_DECISION_WAIT, reason="none yet"))
    assert (gate.decision, gate.opened, gate.figures) == ("wait", None, ())
