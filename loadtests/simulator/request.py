"""One request on its way through the simulation."""

from dataclasses import dataclass

from loadtests.simulator.ask import Ask


@dataclass(slots=True, eq=False)
class Request:
    """Times in simulated milliseconds; `produced`: tokens of the answer so far.

    outcome: "" while it is open; then ok, refused or expired.
    """

    ask: Ask
    attempt: int = 1
    worker: int | None = None
    produced: int = 0
    cached_tokens: int = 0
    granted_ms: float | None = None
    first_token_ms: float | None = None
    ended_ms: float | None = None
    outcome: str = ""
