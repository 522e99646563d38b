"""The simulation: events in order of time, one dispatch, a fleet of engines. Time is in milliseconds and jumps.

Everything that happens within the same millisecond is told to the dispatch together, so that a router's scripts travel
together; engines keep their own exact times.
"""

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random

from loadtests.simulator.ask import Ask
from loadtests.simulator.dispatch import Dispatch, Refuse, Start, Yield
from loadtests.simulator.engine import Answering, Engine, Gained, answering
from loadtests.simulator.loads import Loads
from loadtests.simulator.request import Request
from loadtests.simulator.scenario import Scenario

LOADS_EVERY_MS = 250.0
LONGEST = 20
"""How many times its duration a simulation may take to answer all requests."""


class NeverEnds(Exception):
    """Requests had not ended long after the last one came."""


@dataclass
class Simulation:
    """One run. `progress` is called a few times a simulated second, with the simulated ms and the ended requests."""

    scenario: Scenario
    asks: Sequence[Ask]
    dispatch: Dispatch
    fleet: Sequence[Engine]
    progress: Callable[[float, int], None] = lambda now_ms, ended: None
    requests: list[Request] = field(default_factory=list)
    loads: Loads = field(init=False)
    yields: int = 0

    def __post_init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = count()
        self._running: dict[Request, Answering] = {}
        self._of: dict[Answering, Request] = {}
        self._ended = 0
        self._arrivals = iter(self.asks)
        self.loads = Loads(len(self.fleet))

    def run(self) -> None:
        """Runs until every request has ended. Raises NeverEnds."""
        self._begin()
        last_ms = 1000 * self.scenario.duration_s * LONGEST
        while self._ended < len(self.asks):
            now_ms = math.ceil(self._heap[0][0])
            if now_ms > last_ms:
                raise NeverEnds(f"{len(self.asks) - self._ended} requests were left after {last_ms / 1000:.0f} s")
            while self._heap[0][0] <= now_ms:
                due_ms, _, event = heapq.heappop(self._heap)
                event(due_ms)
            self._obey(now_ms)

    def _begin(self) -> None:
        beats = Random(f"{self.scenario.seed}/beats")  # noqa: S311
        for worker, engine in enumerate(self.fleet):
            self.dispatch.beat(worker, engine)
            self._at(beats.uniform(0, self.scenario.heartbeat_ms), self._beat(worker))
        self._obey(0)
        self._at(0.0, self._maintenance)
        self._at(0.0, self._look)
        self._next_arrival()

    def _at(self, due_ms: float, event: Callable[[float], None]) -> None:
        heapq.heappush(self._heap, (due_ms, next(self._order), event))

    def _next_arrival(self) -> None:
        if ask := next(self._arrivals, None):
            self._at(ask.due_ms, lambda _: self._arrive(ask))

    def _arrive(self, ask: Ask) -> None:
        request = Request(ask)
        self.requests.append(request)
        self.dispatch.submit(request)
        self._next_arrival()

    def _beat(self, worker: int) -> Callable[[float], None]:
        def beat(due_ms: float) -> None:
            self.dispatch.beat(worker, self.fleet[worker])
            self._at(due_ms + self.scenario.heartbeat_ms, beat)

        return beat

    def _maintenance(self, due_ms: float) -> None:
        self.dispatch.maintenance()
        self._at(due_ms + self.scenario.upkeep_ms, self._maintenance)

    def _look(self, due_ms: float) -> None:
        if 1000 * self.scenario.warmup_s <= due_ms < 1000 * self.scenario.duration_s:
            self.loads.look([engine.sequences for engine in self.fleet])
        self.progress(due_ms, self._ended)
        self._at(due_ms + LOADS_EVERY_MS, self._look)

    def _obey(self, now_ms: int) -> None:
        """Only an order to preempt leads to more orders: the request is submitted again."""
        while orders := self.dispatch.flush(now_ms):
            for order in orders:
                match order:
                    case Start(request, worker, rank):
                        self._grant(request, worker, rank, now_ms)
                    case Yield(request):
                        self._yield(request, now_ms)
                    case Refuse(request, outcome):
                        self._end(request, now_ms, outcome)

    def _grant(self, request: Request, worker: int, rank: int, now_ms: int) -> None:
        request.worker = worker
        if request.granted_ms is None:
            request.granted_ms = now_ms
        attempt = request.attempt
        self._at(now_ms + self.scenario.network_ms, lambda at_ms: self._start(request, attempt, rank, at_ms))

    def _start(self, request: Request, attempt: int, rank: int, at_ms: float) -> None:
        """Does nothing for a request that was preempted on its way to the worker."""
        if request.attempt != attempt or request.worker is None:
            return
        ask = request.ask
        sequence = answering(ask.blocks, ask.prompt_tokens, ask.output_tokens, request.produced, rank)
        self._running[request] = sequence
        self._of[sequence] = request
        self._moved(request.worker, lambda engine: engine.add(sequence, at_ms))

    def _moved(self, worker: int, move: Callable[[Engine], None]) -> None:
        """Every change in an engine changes the time of its next event."""
        engine = self.fleet[worker]
        before_ms = engine.due_ms
        move(engine)
        if engine.due_ms != before_ms and engine.due_ms < math.inf:
            self._at(engine.due_ms, lambda due_ms: self._advance(worker, due_ms))

    def _advance(self, worker: int, due_ms: float) -> None:
        """An engine whose stretch was cut short has had its event already."""
        if self.fleet[worker].due_ms == due_ms:
            self._moved(worker, lambda engine: self._gain(engine.advance(), due_ms))

    def _gain(self, gained: list[Gained], now_ms: float) -> None:
        for each in gained:
            request = self._of.get(each.sequence)
            if request is None:
                continue
            if each.first and request.first_token_ms is None:
                request.first_token_ms = now_ms
                request.cached_tokens = each.sequence.cached_tokens or 0
            if each.last:
                del self._running[request], self._of[each.sequence]
                self.dispatch.finish(request)
                self._end(request, now_ms, "ok")

    def _yield(self, request: Request, now_ms: int) -> None:
        self.yields += 1
        if sequence := self._running.pop(request, None):
            del self._of[sequence]
            request.produced = sequence.size - sequence.prompt_length
            worker = request.worker
            if worker is not None:
                self._moved(worker, lambda engine: engine.remove(sequence, now_ms))
        request.attempt += 1
        request.worker = None
        self.dispatch.submit(request)

    def _end(self, request: Request, now_ms: float, outcome: str) -> None:
        request.outcome, request.ended_ms = outcome, now_ms
        self._ended += 1
