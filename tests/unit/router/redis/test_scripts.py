"""A script is called with arguments by name."""

import pytest

from services.router.redis.scripts import Composition, script

DETACH = script("detach", Composition("prefix"))


def test_named_arguments_are_put_in_the_order_that_the_script_reads() -> None:
    assert DETACH.arguments == ("router", "worker_id", "epoch", "grace_ms")
    assert DETACH.positions({"epoch": 3, "grace_ms": 4, "router": 1, "worker_id": 2}) == (1, 2, 3, 4)


@pytest.mark.parametrize(
    "named",
    [
        {"router": 1, "worker_id": 2, "epoch": 3},
        {"router": 1, "worker_id": 2, "epoch": 3, "grace": 4},
        {"router": 1, "worker_id": 2, "epoch": 3, "grace_ms": 4, "more": 5},
    ],
)
def test_other_arguments_than_the_script_declares_are_refused(named: dict[str, str | int | float | bytes]) -> None:
    with pytest.raises(TypeError, match=r"^detach takes "):
        DETACH.positions(named)
