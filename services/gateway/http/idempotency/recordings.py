"""The answers that are kept for their Idempotency-Keys: for a while, and bounded in number and bytes, by tenant too."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.gateway.http.idempotency.key import HEADER, Key
from services.gateway.http.idempotency.recording import RecordedResponse
from services.shared.clock import Clock
from services.shared.errors import EngineFailed, Overloaded, TidegateError

KEPT_S = 600.0
MAX_ANSWER_BYTES = 4 * 1024 * 1024


@dataclass(slots=True)
class Amount:
    answers: int = 0
    size: int = 0

    def add(self, answers: int, size: int) -> None:
        self.answers += answers
        self.size += size

    def within(self, most: "Amount", answers: int, size: int) -> bool:
        """Whether so much more is."""
        return self.answers + answers <= most.answers and self.size + size <= most.size


MOST = Amount(1024, 64 * 1024 * 1024)
MOST_OF_TENANT = Amount(256, 16 * 1024 * 1024)


class RecordedResponses:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._of_key: dict[Key, list[RecordedResponse]] = {}
        self._ended: dict[RecordedResponse, None] = {}
        """Those that ended first come first."""
        self._all = Amount()
        self._of_tenant: dict[str, Amount] = {}

    def of(self, key: Key) -> Sequence[RecordedResponse]:
        self._expire()
        return tuple(self._of_key.get(key, ()))

    def make_room(self, key: Key) -> None:
        """For one more answer. Raises Overloaded."""
        self._clear(key[0], answers=1)

    def add(self, recording: RecordedResponse) -> None:
        self._of_key.setdefault(recording.asked.key, []).append(recording)
        self._count(recording, 1, 0)

    def take(self, recording: RecordedResponse, size: int, *, last: bool) -> None:
        """Raises EngineFailed for an answer that is too large, Overloaded when all of them are together."""
        if not last:
            if recording.size + size > MAX_ANSWER_BYTES:
                raise EngineFailed(f"An answer to an {HEADER} can have {MAX_ANSWER_BYTES} bytes. Leave the header out.")
            self._clear(recording.asked.key[0], size=size)
        self._count(recording, 0, size)

    def end(self, recording: RecordedResponse, error: TidegateError | None) -> None:
        recording.end(self._clock.monotonic(), error)
        self._ended[recording] = None
        if recording.failed:
            self._forget(recording)

    def _expire(self) -> None:
        oldest = self._clock.monotonic() - KEPT_S
        while (first := next(iter(self._ended), None)) and (first.ended_at or oldest) < oldest:
            self._forget(first)

    def _clear(self, tenant: str, *, answers: int = 0, size: int = 0) -> None:
        """Forgets those that ended first, the tenant's own before others'. Raises Overloaded when it does not help."""
        while not self._of_tenant.get(tenant, Amount()).within(MOST_OF_TENANT, answers, size):
            self._forget_first(tenant)
        while not self._all.within(MOST, answers, size):
            self._forget_first(None)

    def _forget_first(self, tenant: str | None) -> None:
        """Of all tenants, with None. Raises Overloaded when none has ended."""
        first = next((each for each in self._ended if tenant in (None, each.asked.key[0])), None)
        if first is None:
            raise Overloaded(
                "Requests with an Idempotency-Key that are open leave no room. Try again, or leave the header out.",
                retry_after_s=1.0,
            )
        self._forget(first)

    def _forget(self, recording: RecordedResponse) -> None:
        del self._ended[recording]
        same = self._of_key[recording.asked.key]
        same.remove(recording)
        if not same:
            del self._of_key[recording.asked.key]
        self._count(recording, -1, -recording.size)

    def _count(self, recording: RecordedResponse, answers: int, size: int) -> None:
        tenant = recording.asked.key[0]
        own = self._of_tenant.setdefault(tenant, Amount())
        for amount in (self._all, own):
            amount.add(answers, size)
        if own == Amount():
            del self._of_tenant[tenant]
