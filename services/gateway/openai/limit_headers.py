"""The state of a caller's limits in headers, as OpenAI names them. gRPC has the same names as metadata."""

from collections.abc import Iterable

from tidegate.router.v1 import router_pb2

Headers = list[tuple[str, str]]


def limit_headers(states: Iterable[router_pb2.LimitState]) -> Headers:
    """Returns name and value of each header. states: what the router told of the limits."""
    headers: Headers = []
    for state in states:
        if state.requests_limit:
            headers += _headers("requests", state.requests_limit, state.requests_remaining, state.requests_reset_ms)
        if state.tokens_limit:
            headers += _headers("tokens", state.tokens_limit, state.tokens_remaining, state.tokens_reset_ms)
    return headers


def _headers(kind: str, limit: int, remaining: int, reset_ms: int) -> Headers:
    return [
        (f"x-ratelimit-limit-{kind}", str(limit)),
        (f"x-ratelimit-remaining-{kind}", str(remaining)),
        (f"x-ratelimit-reset-{kind}", duration(reset_ms)),
    ]


def duration(milliseconds: int) -> str:
    """Returns a time as OpenAI writes it: 20ms, 1.5s, 6m0s."""
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    seconds = f"{rest / 1000:.3f}".rstrip("0").rstrip(".")
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
