import pytest

from services.gateway.openai.limit_headers import duration, limit_headers
from tidegate.router.v1 import router_pb2


def test_a_header_for_each_limit_that_there_is() -> None:
    state = router_pb2.LimitState(name="key:1", tokens_limit=1000, tokens_remaining=940, tokens_reset_ms=3600)
    assert limit_headers([state]) == [
        ("x-ratelimit-limit-tokens", "1000"),
        ("x-ratelimit-remaining-tokens", "940"),
        ("x-ratelimit-reset-tokens", "3.6s"),
    ]
    state.requests_limit, state.requests_reset_ms = 60, 0
    assert limit_headers([state])[:3] == [
        ("x-ratelimit-limit-requests", "60"),
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "0ms"),
    ]
    assert limit_headers([]) == limit_headers([router_pb2.LimitState(name="key:2")]) == []


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0, "0ms"), (999, "999ms"), (1000, "1s"), (1500, "1.5s"), (60_000, "1m0s"), (90_250, "1m30.25s")],
)
def test_durations_are_written_as_openai_does(milliseconds: int, text: str) -> None:
    assert duration(milliseconds) == text
