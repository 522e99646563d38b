"""GroupService at rank 0: followers join, get orders, and are missed when they go."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from itertools import count
from typing import NoReturn

import grpc

from services.shared import rpc
from services.shared.clock import Clock
from services.shared.staging import RefusedModel
from services.worker.group.membership import Membership
from tidegate.worker.v1 import group_pb2 as pb
from tidegate.worker.v1 import group_pb2_grpc

log = logging.getLogger(__name__)

JOIN_S = 5.0
_SAY_EVERY_S = 10.0
_MAX_ORDERS = 16
_MAX_REASON = 1_000

Context = grpc.aio.ServicerContext[AsyncIterator[pb.JoinRequest], AsyncIterator[pb.JoinResponse]]


class GroupLost(RefusedModel):
    """A follower has gone, or cannot go on; the group ends as a whole."""


class Leader(group_pb2_grpc.GroupServiceServicer):
    """The followers of one worker, seen from rank 0."""

    def __init__(
        self,
        membership: Membership,
        nodes: int,
        worker_id: str,
        *,
        on_lost: Callable[[str], None],
        on_leaving: Callable[[], None],
        clock: Clock,
    ) -> None:
        """Waits for followers to join.

        Args:
            membership: How rank 0 presents itself.
            nodes: Nodes of the worker, with rank 0's.
            worker_id: Tells followers whose they are.
            on_lost: Called with the reason when the complete group loses a follower.
            on_leaving: Called when a follower was told to stop: the whole worker must drain.
            clock: For the log while followers are missing.
        """
        self._membership, self._nodes, self._worker_id = membership, nodes, worker_id
        self._on_lost, self._on_leaving, self._clock = on_lost, on_leaving, clock
        self._followers: dict[int, _Follower] = {}
        self._changed = asyncio.Event()
        self._numbers = count(1)
        self._is_complete = False
        self._ended: str | None = None

    async def complete(self) -> None:
        """Waits until every follower has joined; the log says who is missing. From then on none may go."""
        while missing := [rank for rank in range(1, self._nodes) if rank not in self._followers]:
            self._changed.clear()
            try:
                async with asyncio.timeout(_SAY_EVERY_S):
                    await self._changed.wait()
            except TimeoutError:
                log.warning("waiting for the followers of node %s", ", ".join(map(str, missing)))
        self._is_complete = True

    async def stage(self, references: Sequence[str], kept: Collection[str]) -> None:
        """Brings versions to the disks of all followers.

        Args:
            references: model@version of each.
            kept: Other versions that must stay on the disks.

        Raises:
            RefusedModel: A node cannot have a version; the message names node and reason.
            GroupLost: A follower has gone.
        """
        if self._ended or len(self._followers) < self._nodes - 1:
            raise GroupLost(self._ended or "a follower is missing")
        order = pb.Stage(order=next(self._numbers), references=references, kept=sorted(kept))
        await asyncio.gather(*(follower.stage(order) for follower in self._followers.values()))

    def run(self, model_version: str, draft_version: str, port: int) -> None:
        """Tells all followers to start their parts, from versions that they have staged.

        Args:
            model_version: SHA-256 of the manifest.
            draft_version: The same of the draft model; empty for none.
            port: Where the processes of all nodes meet.

        Raises:
            GroupLost: A follower has gone.
        """
        for follower in self._followers.values():
            order = pb.Run(model_version=model_version, draft_version=draft_version, port=port)
            follower.order(pb.JoinResponse(run=order))

    def end(self, reason: str) -> None:
        """The worker ends: followers that go are missed no more, and no others are let in."""
        self._ended = self._ended or reason

    async def Join(  # noqa: N802 -- gRPC names it
        self, request_iterator: AsyncIterator[pb.JoinRequest], context: Context
    ) -> AsyncIterator[pb.JoinResponse]:
        """Has a follower until its stream ends."""
        follower = await self._admitted(request_iterator, context)
        reading = asyncio.create_task(self._read(follower, request_iterator), name=f"node-{follower.rank}")
        reading.add_done_callback(lambda _: follower.close())
        # The stub names a class of its own for the callback.
        context.add_done_callback(lambda _: self._lose(follower))  # type: ignore[arg-type]
        try:
            yield pb.JoinResponse(welcome=pb.Welcome(worker_id=self._worker_id))
            log.info("the follower of node %d has joined", follower.rank)
            async for order in follower.orders():
                yield order
        finally:
            reading.cancel()
            self._lose(follower)

    async def _admitted(self, requests: AsyncIterator[pb.JoinRequest], context: Context) -> "_Follower":
        try:
            async with asyncio.timeout(JOIN_S):
                first = await anext(requests, None)
        except TimeoutError:
            await _refuse(context, f"no membership came within {JOIN_S:g} s", grpc.StatusCode.UNAVAILABLE)
        if first is None or first.WhichOneof("frame") != "membership":
            await _refuse(context, "the first frame of a stream is the membership")
        given = first.membership
        follower = Membership(given.pool, given.node_rank, given.settings_sha256, given.engine)
        if reason := self._membership.misfit(follower, self._nodes):
            log.error("a follower does not fit: %s", reason)
            await _refuse(context, reason)
        if reason := self._no_room(follower.node_rank):
            await _refuse(context, reason, grpc.StatusCode.UNAVAILABLE)
        self._followers[follower.node_rank] = joined = _Follower(follower.node_rank)
        self._changed.set()
        return joined

    def _no_room(self, rank: int) -> str | None:
        if self._ended:
            return f"this worker is ending: {self._ended}"
        return f"node {rank} has a follower already" if rank in self._followers else None

    async def _read(self, follower: "_Follower", requests: AsyncIterator[pb.JoinRequest]) -> None:
        async for request in requests:
            match request.WhichOneof("frame"):
                case "staged":
                    follower.staged(request.staged)
                case "leaving":
                    log.info("the follower of node %d was told to stop: this worker drains", follower.rank)
                    self._on_leaving()
                case "broken":
                    follower.reason = request.broken.reason[:_MAX_REASON]
                    return
                case kind:
                    log.warning("the follower of node %d sent a frame out of place: %s", follower.rank, kind)

    def _lose(self, follower: "_Follower") -> None:
        if self._followers.get(follower.rank) is not follower:
            return
        del self._followers[follower.rank]
        reason = f"the follower of node {follower.rank} " + (
            f"cannot go on: {follower.reason}" if follower.reason else "has gone"
        )
        follower.fail(reason)
        if self._ended:
            return
        log.error("%s", reason)
        if self._is_complete:
            self.end(reason)
            self._on_lost(reason)


class _Follower:
    """One follower: its orders, and its answers to them."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.reason = ""
        self._orders: asyncio.Queue[pb.JoinResponse | None] = asyncio.Queue(_MAX_ORDERS + 1)
        self._answers: dict[int, asyncio.Future[str]] = {}
        self._closed = False

    async def orders(self) -> AsyncIterator[pb.JoinResponse]:
        """Yields orders until the follower is closed."""
        while (order := await self._orders.get()) is not None:
            yield order

    def order(self, order: pb.JoinResponse) -> None:
        """Sends an order. Raises GroupLost."""
        if self._closed or self._orders.qsize() >= _MAX_ORDERS:
            raise GroupLost(f"the follower of node {self.rank} takes no orders")
        self._orders.put_nowait(order)

    async def stage(self, order: pb.Stage) -> None:
        """Sends the order and waits for the answer. Raises RefusedModel, GroupLost."""
        self._answers[order.order] = answer = asyncio.get_running_loop().create_future()
        try:
            self.order(pb.JoinResponse(stage=order))
            error = await answer
        finally:
            self._answers.pop(order.order, None)
        if error:
            raise RefusedModel(f"node {self.rank}: {error}")

    def staged(self, result: pb.Staged) -> None:
        """Passes an answer on. Nobody may wait for it any more."""
        answer = self._answers.get(result.order)
        if answer is not None and not answer.done():
            answer.set_result(result.error[:_MAX_REASON])

    def fail(self, reason: str) -> None:
        """Whoever waits for an answer gets GroupLost."""
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(GroupLost(reason))

    def close(self) -> None:
        """Ends `orders`."""
        if not self._closed:
            self._closed = True
            self._orders.put_nowait(None)


async def _refuse(
    context: rpc.Context, message: str, status: grpc.StatusCode = grpc.StatusCode.FAILED_PRECONDITION
) -> NoReturn:
    await context.abort(status, message)
    raise AssertionError("abort raises")
