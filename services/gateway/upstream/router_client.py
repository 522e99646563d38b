"""The gateway's one stream to the routers: it asks for workers and survives the loss of any router replica.

The open requests are held here as tickets, not in a stream. A stream that breaks is replaced by one to the next
replica, under the same session id. There, finishes that may be lost are sent again, and then every open ticket.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from random import Random

from services.gateway.domain.catalog import Catalog
from services.gateway.upstream.bidirectional import Outbox, StreamEnded, converse, read_one
from services.gateway.upstream.mailbox import Mailbox
from services.shared import rpc
from services.shared.backoff import backoff
from services.shared.certificates import Tls
from services.shared.clock import Clock
from services.shared.lifecycle import Tasks
from tidegate.router.v1 import router_pb2, router_pb2_grpc

log = logging.getLogger(__name__)

CONNECT_S = 5.0
WRITE_LOGS_S = 5.0
FLUSH_S = 2.0
MAX_UNSENT = 65_536
# Finishes that were sent so shortly before a stream broke may be lost, so they are sent again on the next stream. Older
# ones would only keep the new replica busy, and Hello ends all requests that it does not name.
REPEAT_FINISH_S = 2.0
MAX_REPEATED = 65_536

TicketKey = tuple[str, int]
"""Request id and attempt."""


@dataclass(slots=True)
class Ticket:
    """An attempt that was submitted and is not finished.

    Attributes:
        mailbox: where the router's frames for it go.
        placement: the worker that has it; None before the grant.
    """

    submit: router_pb2.Submit
    mailbox: Mailbox
    placement: router_pb2.Placement | None = None

    def resubmission(self) -> router_pb2.Submit:
        """The Submit for another replica: it also names the worker that has the request already."""
        submit = router_pb2.Submit()
        submit.CopyFrom(self.submit)
        if self.placement:
            submit.placement.CopyFrom(self.placement)
        return submit


class RouterClient:
    """Submits and finishes attempts.

    Args:
        addresses: of all router replicas, host:port; tried in random order.
        reconnect_timeout_s: how long requests wait for a router to come back before they are refused.

    Attributes:
        catalog: the pools as the router last told them; None before the first connection.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        gateway_id: str,
        *,
        clock: Clock,
        random: Random,
        tls: Tls | None = None,
        reconnect_timeout_s: float = 5.0,
    ) -> None:
        self._addresses = random.sample(list(addresses), len(addresses))
        self._hello = router_pb2.DispatchHello(gateway_id=gateway_id, session_id=f"{random.getrandbits(128):032x}")
        self._clock, self._random, self._tls = clock, random, tls
        self._reconnect_timeout_s = reconnect_timeout_s
        self._tickets: dict[TicketKey, Ticket] = {}
        self._finished: deque[tuple[float, router_pb2.Finish]] = deque(maxlen=MAX_REPEATED)
        self._outbox: Outbox[router_pb2.GatewayFrame] | None = None
        self._written: asyncio.Future[Sequence[router_pb2.LogLength]] | None = None
        self._lost_at = clock.monotonic()
        self._tasks = Tasks()
        self.catalog: Catalog | None = None

    @property
    def connected(self) -> bool:
        """A router has answered on the current stream."""
        return self._outbox is not None

    @property
    def available(self) -> bool:
        """A router answers, or one did so recently that requests still wait for the next one and are not refused."""
        if self._outbox is not None:
            return True
        waited_s = self._clock.monotonic() - self._lost_at
        return self.catalog is not None and waited_s < self._reconnect_timeout_s

    async def start(self) -> None:
        """Connects in the background, again and again."""
        self._tasks.start(self._keep_connected(), "router connection")
        self._tasks.start(self._refuse_after_timeout(self._lost_at), "router reconnect time-out")

    async def stop(self) -> None:
        """Waits at most FLUSH_S seconds until all frames are written, then disconnects."""
        give_up = self._clock.monotonic() + FLUSH_S
        while self._outbox and not self._outbox.empty and self._clock.monotonic() < give_up:
            await self._clock.sleep(0.01)
        await self._tasks.stop()

    def submit(self, submit: router_pb2.Submit, mailbox: Mailbox) -> None:
        """Asks for a worker. The router's frames for this attempt go to `mailbox`."""
        ticket = self._tickets[submit.request_id, submit.attempt] = Ticket(submit, mailbox)
        if self._outbox:
            self._outbox.put(router_pb2.GatewayFrame(submit=submit))
        elif self._clock.monotonic() - self._lost_at >= self._reconnect_timeout_s:
            self._refuse(ticket)

    def finish(self, finish: router_pb2.Finish) -> None:
        """Ends an attempt: the router frees its slot."""
        self._tickets.pop((finish.request_id, finish.attempt), None)
        self._finished.append((self._clock.monotonic(), finish))
        if self._outbox:
            self._outbox.put(router_pb2.GatewayFrame(finish=finish))

    async def write_logs(self, parts: Sequence[router_pb2.LogPart]) -> Sequence[router_pb2.LogLength]:
        """Appends to resume logs. One call at a time.

        Returns:
            The new lengths of the logs that were written; none when no router took them.
        """
        if self._outbox is None:
            return ()
        self._written = asyncio.get_running_loop().create_future()
        self._outbox.put(router_pb2.GatewayFrame(journal_write=router_pb2.JournalWrite(parts=parts)))
        try:
            async with asyncio.timeout(WRITE_LOGS_S):
                return await self._written
        except TimeoutError:
            return ()

    # ---- the connection

    async def _keep_connected(self) -> None:
        delays = backoff(self._random)
        for address in cycle(self._addresses):
            try:
                await self._converse(address)
            except StreamEnded as ended:
                log.warning("no stream to router %s: %s", address, ended)
            if self._outbox:
                delays = backoff(self._random)
                self._disconnected()
            await self._clock.sleep(next(delays))

    async def _converse(self, address: str) -> None:
        async with rpc.channel(address, self._tls) as channel:
            call = router_pb2_grpc.RouterServiceStub(channel).Dispatch()
            outbox: Outbox[router_pb2.GatewayFrame] = Outbox(MAX_UNSENT)
            outbox.put(router_pb2.GatewayFrame(hello=self._greeting()))
            await self._greet(call, outbox)
            log.info("connected to router %s", address)
            await converse(call, outbox, _message, self._take)

    def _greeting(self) -> router_pb2.DispatchHello:
        """Names open requests and those whose finish is sent again. The router ends all others of this session."""
        held = [request_id for request_id, _ in self._tickets]
        held += [finish.request_id for finish in self._finishes_to_repeat()]
        hello = router_pb2.DispatchHello(held_requests=held)
        hello.MergeFrom(self._hello)
        return hello

    async def _greet(self, call: object, outbox: Outbox[router_pb2.GatewayFrame]) -> None:
        """Sends Hello. The first message back proves that a router is there."""
        pump = asyncio.create_task(outbox.pump(lambda frames: call.write(_message(frames))))  # type: ignore[attr-defined]
        try:
            first = await read_one(call, CONNECT_S)
        finally:
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)
        self._connected(outbox)
        self._take(first)

    def _connected(self, outbox: Outbox[router_pb2.GatewayFrame]) -> None:
        self._outbox = outbox
        for finish in self._finishes_to_repeat():
            outbox.put(router_pb2.GatewayFrame(finish=finish))
        for ticket in self._tickets.values():
            outbox.put(router_pb2.GatewayFrame(submit=ticket.resubmission()))

    def _finishes_to_repeat(self) -> list[router_pb2.Finish]:
        oldest = self._lost_at - REPEAT_FINISH_S
        return [finish for finished_at, finish in self._finished if finished_at >= oldest]

    def _disconnected(self) -> None:
        self._outbox = None
        self._logs_written(())
        self._lost_at = self._clock.monotonic()
        self._tasks.start(self._refuse_after_timeout(self._lost_at), "router reconnect time-out")

    async def _refuse_after_timeout(self, lost_at: float) -> None:
        await self._clock.sleep(self._reconnect_timeout_s)
        if self._outbox or self._lost_at != lost_at:
            return
        for ticket in list(self._tickets.values()):
            if not ticket.placement:
                self._refuse(ticket)

    def _refuse(self, ticket: Ticket) -> None:
        request_id, attempt = ticket.submit.request_id, ticket.submit.attempt
        self._tickets.pop((request_id, attempt), None)
        reason = router_pb2.REJECT_REASON_STORE_UNAVAILABLE
        ticket.mailbox.put(router_pb2.Reject(request_id=request_id, attempt=attempt, reason=reason))

    # ---- frames from the router

    def _take(self, response: router_pb2.DispatchResponse) -> None:
        for frame in response.frames:
            self._take_frame(frame)

    def _take_frame(self, frame: router_pb2.RouterFrame) -> None:
        match frame.WhichOneof("frame"):
            case "grant":
                self._granted(frame.grant)
            case "queued":
                self._pass_on(frame.queued)
            case "reject":
                self._rejected(frame.reject)
            case "revoke":
                self._pass_on(frame.revoke)
            case "yield":
                self._pass_on(getattr(frame, "yield"))
            case "catalog":
                self.catalog = Catalog.of_pools(frame.catalog.pools)
            case "journal_written":
                self._logs_written(frame.journal_written.logs)

    def _granted(self, grant: router_pb2.Grant) -> None:
        """A grant that is repeated after a reconnect changes nothing: its worker is at work already."""
        ticket = self._tickets.get((grant.request_id, grant.attempt))
        if ticket is None:
            self._give_back(grant)
        elif not ticket.placement:
            ticket.placement = router_pb2.Placement(worker_id=grant.worker_id, worker_epoch=grant.worker_epoch)
            ticket.mailbox.put(grant)

    def _logs_written(self, logs: Sequence[router_pb2.LogLength]) -> None:
        if self._written and not self._written.done():
            self._written.set_result(logs)

    def _give_back(self, grant: router_pb2.Grant) -> None:
        """Finishes a request that was granted after its end, because a former replica passed its Submit on late."""
        for _, finish in self._finished:
            if (finish.request_id, finish.attempt) == (grant.request_id, grant.attempt) and self._outbox:
                self._outbox.put(router_pb2.GatewayFrame(finish=finish))
                return

    def _rejected(self, reject: router_pb2.Reject) -> None:
        """A rejection of a running request is ignored: it comes from a replica that does not know the request."""
        ticket = self._tickets.get((reject.request_id, reject.attempt))
        if ticket and not ticket.placement:
            del self._tickets[reject.request_id, reject.attempt]
            ticket.mailbox.put(reject)

    def _pass_on(self, frame: router_pb2.Queued | router_pb2.Revoke | router_pb2.Yield) -> None:
        if ticket := self._tickets.get((frame.request_id, frame.attempt)):
            ticket.mailbox.put(frame)


def _message(frames: Sequence[router_pb2.GatewayFrame]) -> router_pb2.DispatchRequest:
    return router_pb2.DispatchRequest(frames=frames)
