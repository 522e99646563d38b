"""What a gateway sees of one attempt and tells the router, which compares versions by it while a rollout runs."""

from services.gateway.domain.generation import Generation
from services.gateway.generation.progress import Progress
from services.shared.clock import Clock
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2

_COUNTED = (router_pb2.OUTCOME_COMPLETED, router_pb2.OUTCOME_TIMED_OUT)
_OF_THE_REQUEST = (worker_pb2.FAILURE_KIND_INVALID, worker_pb2.FAILURE_KIND_CONTEXT_LENGTH)


class Observation:
    """Times and faults of one attempt.

    Attributes:
        fault: The engine failed the request, or was lost with it.
    """

    def __init__(self, generation: Generation, progress: Progress, clock: Clock) -> None:
        self.fault = False
        self._generation, self._progress, self._clock = generation, progress, clock
        # A continued answer has the pace of several workers.
        self._whole = not progress.begun
        self._granted_at: float | None = None
        self._first_at: float | None = None
        self._first_tokens = 0
        self._ended_at: float | None = None

    def granted(self) -> None:
        """A worker was granted."""
        self._granted_at = self._clock.monotonic()

    def took(self, delta: worker_pb2.Delta) -> None:
        """Tokens came; only the first ones count."""
        if self._first_at is None:
            self._first_at, self._first_tokens = self._clock.monotonic(), len(delta.token_ids)

    def ended(self) -> None:
        """The worker's last message came."""
        self._ended_at = self._clock.monotonic()

    def message(
        self,
        outcome: router_pb2.Outcome.ValueType,
        grant: router_pb2.Grant | None,
        ended: worker_pb2.Ended | None,
        completion_tokens: int,
    ) -> router_pb2.Served | None:
        """What the router is told.

        Args:
            outcome: How the attempt ended.
            grant: The router's grant, if there was one.
            ended: The worker's last message, if it came.
            completion_tokens: Of all choices.

        Returns:
            None when the attempt says nothing about a version: it had no worker, its client left, it moved on to
            another worker through no fault, or its weights changed under way.
        """
        refused = ended is not None and ended.failure.kind in _OF_THE_REQUEST
        changed = bool(self._progress.changes or (ended and ended.spans))
        if grant is None or changed or not (outcome in _COUNTED or refused or self.fault):
            return None
        served = router_pb2.Served(
            model_version=self._progress.version if self._progress.begun else grant.model_version,
            worker_id=grant.worker_id,
            service_class=grant.service_class or self._generation.service_class.proto,
            failed=self.fault or outcome == router_pb2.OUTCOME_TIMED_OUT,
            structured=self._generation.sampling.WhichOneof("structure") is not None,
            broken=refused or self._progress.cut,
        )
        if outcome == router_pb2.OUTCOME_COMPLETED and self._whole:
            self._add_times(served, completion_tokens / self._progress.choices_expected)
        return served

    def _add_times(self, served: router_pb2.Served, tokens: float) -> None:
        """An answer in one piece comes with many tokens at first: of it only the pace after them is known."""
        served.choice_tokens = round(tokens)
        if self._granted_at is None or self._first_at is None:
            return
        if self._generation.stream:
            served.first_token_us = _microseconds(self._first_at - self._granted_at)
        later = tokens - self._first_tokens
        if self._ended_at is not None and later >= 1:
            served.token_us = _microseconds((self._ended_at - self._first_at) / later)


def _microseconds(seconds: float) -> int:
    """At least 1: 0 means unknown on the wire."""
    return max(1, round(seconds * 1e6))
