"""The gateway sessions and workers that are connected to this replica, and the events that they are sent."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from services.router.core.events import (
    DeliveryAsked,
    Displaced,
    DrainAsked,
    Event,
    Expired,
    Granted,
    Preempted,
    Revoked,
    StageAsked,
)
from services.router.metrics import RouterMetrics
from services.router.queue.frames import event_frame
from services.shared.swap_mode import SwapMode
from tidegate.router.v1 import router_pb2 as pb

MAX_OUTGOING = 10_000
MAX_TOGETHER = 256
MAX_ASKED = 3
# Values of the metric's label; dashboards know them.
_METRIC_KINDS: Mapping[type[Any], str] = {
    Granted: "granted",
    Revoked: "revoked",
    Expired: "expired",
    Displaced: "crowdedout",
    Preempted: "yieldasked",
    DrainAsked: "drainasked",
    DeliveryAsked: "deliveryasked",
    StageAsked: "stageasked",
}


class GatewaySession:
    """One gateway's Dispatch stream.

    Attributes:
        waiting: Requests that were told to wait, with the pool of each.
        dropped: Why the stream ends; "" while it lives.
    """

    def __init__(self, session_id: str, gateway_id: str) -> None:
        self.session_id, self.gateway_id = session_id, gateway_id
        self.waiting: dict[str, str] = {}
        self.dropped = ""
        self._outgoing: deque[pb.RouterFrame] = deque()
        self._filled = asyncio.Event()

    def waits_in(self, pool: str) -> list[str]:
        """Ids of the requests that wait in a pool."""
        return [request_id for request_id, of_pool in self.waiting.items() if of_pool == pool]

    def send(self, frame: pb.RouterFrame) -> None:
        """Sends a frame. A gateway that does not read loses its stream; it connects again and is told the state."""
        if len(self._outgoing) >= MAX_OUTGOING:
            self.drop(f"{MAX_OUTGOING} frames are waiting to be read")
        else:
            self._outgoing.append(frame)
            self._filled.set()

    def drop(self, why: str) -> None:
        """Ends the stream. Frames that wait to be sent are discarded."""
        self.dropped = self.dropped or why
        self._filled.set()

    async def collected(self) -> AsyncIterator[pb.DispatchResponse]:
        """Yields the frames that wait, MAX_TOGETHER at most in one message, until the session is dropped."""
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
    # A drain, a weight update, a version to stage and the end are all that ever wait.
    outgoing: asyncio.Queue[pb.AttachResponse | None] = field(default_factory=lambda: asyncio.Queue(MAX_ASKED + 1))

    def ask(self, request: pb.AttachResponse) -> None:
        """Asks the worker for something. Does nothing while MAX_ASKED requests wait to be read."""
        if self.outgoing.qsize() < MAX_ASKED:
            self.outgoing.put_nowait(request)

    def end(self) -> None:
        """Ends the stream."""
        self.outgoing.put_nowait(None)


class Sessions:
    """Every session and worker of this replica, by id."""

    def __init__(self, metrics: RouterMetrics) -> None:
        self._metrics = metrics
        self._sessions: dict[str, GatewaySession] = {}
        self._workers: dict[str, AttachedWorker] = {}

    @property
    def sessions(self) -> list[GatewaySession]:
        """All gateway sessions."""
        return list(self._sessions.values())

    @property
    def session_ids(self) -> list[str]:
        """Ids of all gateway sessions."""
        return list(self._sessions)

    def connect(self, session: GatewaySession) -> None:
        """Adds a session. If it has an older stream here, that one ends."""
        if older := self._sessions.get(session.session_id):
            older.drop("the session connected again")
        self._sessions[session.session_id] = session
        self._metrics.gateways.connected.set(len(self._sessions))

    def disconnect(self, session: GatewaySession) -> None:
        """Removes a session, unless it has a newer stream here."""
        if self._sessions.get(session.session_id) is session:
            del self._sessions[session.session_id]
        self._metrics.gateways.connected.set(len(self._sessions))

    def attach(self, worker: AttachedWorker) -> None:
        """Adds a worker, or its newer stream."""
        self._workers[worker.worker_id] = worker

    def detach(self, worker: AttachedWorker) -> None:
        """Removes a worker, unless it has a newer stream here."""
        if self._workers.get(worker.worker_id) is worker:
            del self._workers[worker.worker_id]

    def drop(self, session_ids: list[str], why: str) -> None:
        """Makes gateways connect again and submit all that they hold."""
        for session_id in session_ids:
            if session := self._sessions.get(session_id):
                session.drop(why)

    def broadcast(self, frame: pb.RouterFrame) -> None:
        """Sends a frame to every gateway."""
        for session in self._sessions.values():
            session.send(frame)

    def deliver(self, event: Event) -> None:
        """Sends an event to its gateway or worker. An event for one that is gone is dropped: leases end its work."""
        self._metrics.gateways.events[_METRIC_KINDS[type(event)]].inc()
        match event:
            case DrainAsked():
                if worker := self._workers.get(event.worker_id):
                    worker.ask(pb.AttachResponse(drain=pb.Drain(timeout_ms=event.timeout_ms)))
            case DeliveryAsked():
                if worker := self._workers.get(event.worker_id):
                    worker.ask(pb.AttachResponse(deliver=_deliver(event)))
            case StageAsked():
                if worker := self._workers.get(event.worker_id):
                    order = pb.StageOrder(
                        stage_id=event.stage_id, model_version=event.model_version, speculator=event.speculator
                    )
                    worker.ask(pb.AttachResponse(stage=order))
            case Granted() | Revoked() | Expired() | Displaced() | Preempted():
                if session := self._sessions.get(event.session):
                    session.waiting.pop(event.request_id, None)
                    session.send(event_frame(event))


def _deliver(event: DeliveryAsked) -> pb.Deliver:
    return pb.Deliver(
        delivery_id=event.delivery_id,
        model_version=event.model_version,
        finish_timeout_ms=event.finish_timeout_ms,
        mode=pb.SwapMode.Value(SwapMode(event.mode).proto_name) if event.mode else pb.SWAP_MODE_UNSPECIFIED,
        speculator=event.speculator,
    )
