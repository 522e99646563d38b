"""Runs a plan open-loop: every request is sent when it is due, whether or not earlier ones have been answered."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from loadtests.client import Client
from loadtests.plan import Planned
from loadtests.profile import Profile
from loadtests.sample import Outcome, Sample
from loadtests.target import CHAT, Target
from services.shared.clock import Clock


class Stopwatch:
    """Monotonic seconds since it was started."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._started = clock.monotonic()

    def now_s(self) -> float:
        """Seconds since the start."""
        return self._clock.monotonic() - self._started

    def restart(self) -> None:
        """Begins again at 0."""
        self._started = self._clock.monotonic()


@dataclass(slots=True)
class Tally:
    """Counts during the run. Every request that was due is exactly one of: waiting, in flight, ended."""

    due: int = 0
    sent: int = 0
    ok: int = 0
    refused: int = 0
    failed: int = 0
    not_sent: int = 0
    tokens: int = 0

    @property
    def in_flight(self) -> int:
        """Requests that were sent and have not ended."""
        return self.sent - self.ok - self.refused - self.failed

    def ended(self, sample: Sample) -> None:
        """Counts a request that has ended."""
        self.tokens += sample.output_tokens
        match sample.outcome:
            case Outcome.OK:
                self.ok += 1
            case Outcome.REFUSED:
                self.refused += 1
            case Outcome.NOT_SENT:
                self.not_sent += 1
            case _:
                self.failed += 1


class Runner:
    """Sends the requests of a plan."""

    def __init__(self, profile: Profile, target: Target, model: str, client: Client, watch: Stopwatch) -> None:
        self._profile, self._target, self._model = profile, target, model
        self._client, self._watch = client, watch
        self._slots = asyncio.Semaphore(profile.max_in_flight)
        self.tally = Tally()

    async def run(self, plan: Iterable[Planned], stop: asyncio.Event) -> list[Sample]:
        """Sends every request when it is due, until `stop` is set.

        The number of tasks is bounded: running requests by max_in_flight, waiting ones by send_within_s.

        Returns:
            A sample of every request that was due, in order, after all have ended.
        """
        samples: list[Sample] = []
        async with asyncio.TaskGroup() as tasks:
            for planned in plan:
                request = self._target.post(CHAT, body(planned, self._model, self._profile))
                if await self._stopped_before(planned.due_s, stop):
                    break
                sample = Sample(planned.index, planned.tier, planned.streamed, planned.due_s)
                samples.append(sample)
                tasks.create_task(self._one(request, sample, planned.output_tokens))
        return samples

    async def _stopped_before(self, due_s: float, stop: asyncio.Event) -> bool:
        wait_s = due_s - self._watch.now_s()
        if wait_s <= 0:
            # The run is late. Responses must still be read between two requests.
            await asyncio.sleep(0)
            return stop.is_set()
        try:
            await asyncio.wait_for(stop.wait(), wait_s)
        except TimeoutError:
            return False
        return True

    async def _one(self, request: bytes, sample: Sample, output_tokens: int) -> None:
        self.tally.due += 1
        if await self._acquire_slot():
            self.tally.sent += 1
            try:
                await self._client.perform(request, sample, output_tokens if self._profile.ignore_eos else None)
            finally:
                self._slots.release()
        else:
            sample.detail = f"{self._profile.max_in_flight} requests were in flight"
        self.tally.ended(sample)

    async def _acquire_slot(self) -> bool:
        if not self._slots.locked():
            return await self._slots.acquire()
        try:
            return await asyncio.wait_for(self._slots.acquire(), self._profile.send_within_s)
        except TimeoutError:
            return False


def body(planned: Planned, model: str, profile: Profile) -> dict[str, object]:
    """The body of POST /chat/completions. Temperature 0, so that the same seed gets the same answers."""
    return {
        "model": model,
        "messages": planned.messages,
        "max_tokens": planned.output_tokens,
        "temperature": 0,
        "service_tier": planned.tier,
        **({"ignore_eos": True} if profile.ignore_eos else {}),
        **({"stream": True, "stream_options": {"include_usage": True}} if planned.streamed else {}),
    }
