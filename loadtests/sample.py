"""The measurements of one request. All times are monotonic seconds from the start of the run."""

from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    """How a request ended."""

    OK = "ok"
    REFUSED = "refused"
    """429 or 503 with Retry-After: correct back-pressure."""
    HTTP_ERROR = "http_error"
    STREAM_ERROR = "stream_error"
    """An error event inside the stream."""
    BROKEN_STREAM = "broken_stream"
    WRONG_SHAPE = "wrong_shape"
    WRONG_LENGTH = "wrong_length"
    """Another number of tokens than requested, although the server was told to ignore the end of sequence."""
    CONNECT_FAILED = "connect_failed"
    TIMEOUT = "timeout"
    NOT_SENT = "not_sent"
    """The request was due while max_in_flight requests were running: the profile sends more than it allows."""


DETAIL_CHARACTERS = 120
EXPECTED = frozenset({Outcome.OK, Outcome.REFUSED})


@dataclass(slots=True)
class Sample:
    """One request.

    Latencies count from `due_s` and not from `sent_s`, so that delays of the client or the server before sending show.
    `token_times` has the arrival time of each event with new text; one event may carry several tokens.
    """

    index: int
    tier: str
    streamed: bool
    due_s: float
    outcome: Outcome = Outcome.NOT_SENT
    detail: str = ""
    sent_s: float | None = None
    ended_s: float | None = None
    token_times: list[float] = field(default_factory=list)
    prompt_tokens: int = 0
    output_tokens: int = 0

    def succeed(self, now_s: float) -> None:
        """The answer is complete and right."""
        self.outcome, self.detail, self.ended_s = Outcome.OK, "", now_s

    def fail(self, outcome: Outcome, detail: str, now_s: float) -> None:
        """The request failed. `detail` is shortened to DETAIL_CHARACTERS."""
        self.outcome, self.detail, self.ended_s = outcome, detail[:DETAIL_CHARACTERS], now_s

    @property
    def ok(self) -> bool:
        """Whether the answer is complete and right."""
        return self.outcome is Outcome.OK

    @property
    def lag_s(self) -> float | None:
        """Seconds from due to sent."""
        return None if self.sent_s is None else self.sent_s - self.due_s

    @property
    def e2e_s(self) -> float | None:
        """Seconds from due to the end."""
        return None if self.ended_s is None else self.ended_s - self.due_s

    @property
    def ttft_s(self) -> float | None:
        """Seconds from due to the first token; None without streaming."""
        return self.token_times[0] - self.due_s if self.streamed and self.token_times else None

    @property
    def tpot_s(self) -> float | None:
        """Seconds per output token: (end - first token) / (tokens - 1). None for a single token."""
        if not self.streamed or not self.token_times or self.ended_s is None or self.output_tokens < 2:
            return None
        return (self.ended_s - self.token_times[0]) / (self.output_tokens - 1)
