"""Who is connected to this replica: gateway sessions and workers, and how to reach each."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from services.router.core.events import (
    CrowdedOut,
    DeliveryAsked,
    DrainAsked,
    Event,
    Expired,
    Granted,
    Revoked,
    YieldAsked,
)
from services.router.metrics import RouterMetrics
from services.router.queue.frames import crowded_out, expired, grant, revoke, yield_
from tidegate.router.v1 import router_pb2 as pb

MAX_OUTGOING = 10_000
MAX_TOGETHER = 256
MAX_ASKED = 2


class GatewaySession:
    """One gateway's Dispatch stream."""

    def __init__(self, session_id: str, gateway_id: str) -> None:
        self.session_id, self.gateway_id = session_id, gateway_id
        # Requests that were told to wait, and the pool of each.
        self.waiting: dict[str, str] = {}
        self.dropped = ""
        self._outgoing: deque[pb.RouterFrame] = deque()
        self._filled = asyncio.Event()

    def waits_in(self, pool: str) -> list[str]:
        return [request_id for request_id, of_pool in self.waiting.items() if of_pool == pool]

    def send(self, frame: pb.RouterFrame) -> None:
        """A gateway that does not read loses its stream; it reconnects and is told the state anew."""
        if len(self._outgoing) >= MAX_OUTGOING:
            self.drop(f"{MAX_OUTGOING} frames are waiting to be read")
        else:
            self._outgoing.append(frame)
            self._filled.set()

    def drop(self, why: str) -> None:
        """Ends the stream; what waits to be sent is thrown away."""
        self.dropped = self.dropped or why
        self._filled.set()

    async def collected(self) -> AsyncIterator[pb.DispatchResponse]:
        """All frames that wait, each time there are some, until the session is dropped."""
        while not self.dropped:
            together = [self._outgoing.popleft() for _ in range(min(len(self._outgoing), MAX_TOGETHER))]
            if together:
                yield pb.DispatchResponse(frames=together)
            else:
                self._filled.clear()
                await self._filled.wait()


@dataclass(slots=True)
class AttachedWorker:
    """One worker's Attach stream."""

    worker_id: str
    epoch: int
    pool: str
    said_goodbye: bool = False
    # One of each request and the end are all that ever wait.
    outgoing: asyncio.Queue[pb.AttachResponse | None] = field(default_factory=lambda: asyncio.Queue(MAX_ASKED + 1))

    def ask(self, request: pb.AttachResponse) -> None:
        """Asking again while requests wait to be read changes nothing."""
        if self.outgoing.qsize() < MAX_ASKED:
            self.outgoing.put_nowait(request)

    def end(self) -> None:
        self.outgoing.put_nowait(None)


class Sessions:
    def __init__(self, metrics: RouterMetrics) -> None:
        self._metrics = metrics
        self._sessions: dict[str, GatewaySession] = {}
        self._workers: dict[str, AttachedWorker] = {}

    @property
    def sessions(self) -> list[GatewaySession]:
        return list(self._sessions.values())

    @property
    def session_ids(self) -> list[str]:
        return list(self._sessions)

    def connect(self, session: GatewaySession) -> None:
        """The newest stream of a session is the one that counts."""
        if older := self._sessions.get(session.session_id):
            older.drop("the session connected again")
        self._sessions[session.session_id] = session
        self._metrics.gateways.connected.set(len(self._sessions))

    def disconnect(self, session: GatewaySession) -> None:
        if self._sessions.get(session.session_id) is session:
            del self._sessions[session.session_id]
        self._metrics.gateways.connected.set(len(self._sessions))

    def attach(self, worker: AttachedWorker) -> None:
        self._workers[worker.worker_id] = worker

    def detach(self, worker: AttachedWorker) -> None:
        if self._workers.get(worker.worker_id) is worker:
            del self._workers[worker.worker_id]

    def drop(self, session_ids: list[str], why: str) -> None:
        """Makes gateways connect again and submit what they hold."""
        for session_id in session_ids:
            if session := self._sessions.get(session_id):
                session.drop(why)

    def broadcast(self, frame: pb.RouterFrame) -> None:
        for session in self._sessions.values():
            session.send(frame)

    def deliver(self, event: Event) -> None:
        """Events for whoever has left are dropped: their lease decides what becomes of their work."""
        self._metrics.gateways.events[type(event).__name__.lower()].inc()
        match event:
            case DrainAsked():
                if worker := self._workers.get(event.worker_id):
                    worker.ask(pb.AttachResponse(drain=pb.Drain(timeout_ms=event.timeout_ms)))
            case DeliveryAsked():
                if worker := self._workers.get(event.worker_id):
                    worker.ask(pb.AttachResponse(deliver=_deliver(event)))
            case Granted() | Revoked() | Expired() | CrowdedOut() | YieldAsked():
                if session := self._sessions.get(event.session):
                    session.waiting.pop(event.request_id, None)
                    session.send(_frame(event))


def _deliver(event: DeliveryAsked) -> pb.Deliver:
    return pb.Deliver(
        delivery_id=event.delivery_id,
        model_version=event.model_version,
        finish_timeout_ms=event.finish_timeout_ms,
    )


def _frame(event: Granted | Revoked | Expired | CrowdedOut | YieldAsked) -> pb.RouterFrame:
    match event:
        case Granted():
            return grant(event)
        case Revoked():
            return revoke(event)
        case Expired():
            return expired(event)
        case CrowdedOut():
            return crowded_out(event)
        case YieldAsked():
            return yield_(event)
