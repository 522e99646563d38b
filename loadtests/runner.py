"""Runs a plan open-loop: every request is sent when it is due, however the server does with those before it."""

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
    """Seconds since it was started. Monotonic."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._started = clock.monotonic()

    def now_s(self) -> float:
        return self._clock.monotonic() - self._started

    def restart(self) -> None:
        self._started = self._clock.monotonic()


@dataclass(slots=True)
class Tally:
    """Counts while the run goes on. Every request that was due is in exactly one of: waiting, in flight, ended."""

    due: int = 0
    sent: int = 0
    ok: int = 0
    refused: int = 0
    failed: int = 0
    not_sent: int = 0
    tokens: int = 0

    @property
    def in_flight(self) -> int:
        return self.sent - self.ok - self.refused - self.failed

    def ended(self, sample: Sample) -> None:
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
    def __init__(self, profile: Profile, target: Target, model: str, client: Client, watch: Stopwatch) -> None:
        self._profile, self._target, self._model = profile, target, model
        self._client, self._watch = client, watch
        self._room = asyncio.Semaphore(profile.max_in_flight)
        self.tally = Tally()

    async def run(self, plan: Iterable[Planned], stop: asyncio.Event) -> list[Sample]:
        """A sample of every request that was due before `stop`, in order; returns when all have ended.

        Tasks are bounded: those in flight by max_in_flight, those that wait for room by send_within_s.
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
            # Behind already: what has arrived meanwhile is read between two sendings all the same.
            await asyncio.sleep(0)
            return stop.is_set()
        try:
            await asyncio.wait_for(stop.wait(), wait_s)
        except TimeoutError:
            return False
        return True

    async def _one(self, request: bytes, sample: Sample, output_tokens: int) -> None:
        self.tally.due += 1
        if await self._has_room():
            self.tally.sent += 1
            try:
                await self._client.perform(request, sample, output_tokens if self._profile.ignore_eos else None)
            finally:
                self._room.release()
        else:
            sample.detail = f"{self._profile.max_in_flight} requests were in flight"
        self.tally.ended(sample)

    async def _has_room(self) -> bool:
        if not self._room.locked():
            return await self._room.acquire()
        try:
            return await asyncio.wait_for(self._room.acquire(), self._profile.send_within_s)
        except TimeoutError:
            return False


def body(planned: Planned, model: str, profile: Profile) -> dict[str, object]:
    """Of POST /chat/completions. Greedy, so that the same seed asks for the same answers."""
    return {
        "model": model,
        "messages": planned.messages,
        "max_tokens": planned.output_tokens,
        "temperature": 0,
        "service_tier": planned.tier,
        **({"ignore_eos": True} if profile.ignore_eos else {}),
        **({"stream": True, "stream_options": {"include_usage": True}} if planned.streamed else {}),
    }
