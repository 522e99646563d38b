"""A follower's stream to rank 0."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import grpc

from services.shared import rpc
from services.shared.backoff import backoff
from services.shared.certificates import Tls
from services.shared.clock import Clock
from services.shared.settings import WrongSettings
from services.worker.group.membership import Membership
from tidegate.worker.v1 import group_pb2 as pb
from tidegate.worker.v1 import group_pb2_grpc

log = logging.getLogger(__name__)

_WELCOME_S = 10.0
_WRITE_S = 10.0

_Call = grpc.aio.StreamStreamCall[pb.JoinRequest, pb.JoinResponse]


class Connection:
    """An open stream of a follower that rank 0 has let in."""

    def __init__(self, call: _Call) -> None:
        self._call = call
        self._writing = asyncio.Lock()

    async def orders(self) -> AsyncIterator[pb.JoinResponse]:
        """Yields orders until the stream ends, for any reason."""
        try:
            while isinstance(order := await self._call.read(), pb.JoinResponse):
                yield order
        except grpc.aio.AioRpcError as error:
            log.warning("rank 0: %s: %s", error.code().name, error.details())

    async def send(self, request: pb.JoinRequest) -> None:
        """Sends a frame; it does nothing once the stream has ended."""
        async with self._writing:
            try:
                async with asyncio.timeout(_WRITE_S):
                    await self._call.write(request)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError) as error:
                log.warning("rank 0 did not get a frame: %s", error)


@asynccontextmanager
async def joined(
    address: str, membership: Membership, *, clock: Clock, random: Random, tls: Tls | None
) -> AsyncIterator[Connection]:
    """Joins the group, however long rank 0 takes to answer, and yields the stream. A follower does this once.

    Args:
        address: host:port of rank 0.
        membership: How the follower presents itself.
        clock: For the delays between attempts.
        random: For the same.
        tls: None means plain text.

    Raises:
        WrongSettings: Rank 0 says that the follower does not fit.
    """
    for delay in backoff(random, first_s=0.2, cap_s=3.0):
        async with rpc.channel(address, tls) as channel:
            call = group_pb2_grpc.GroupServiceStub(channel).Join()
            try:
                await _present(call, membership)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError) as error:
                call.cancel()
                _check_refusal(error)
                log.warning("rank 0 at %s: %s; trying again in %.1f s", address, _describe(error), delay)
            else:
                try:
                    yield Connection(call)
                finally:
                    call.cancel()
                return
        await clock.sleep(delay)


async def _present(call: _Call, membership: Membership) -> None:
    """Raises AioRpcError, TimeoutError."""
    own = pb.Membership(
        pool=membership.pool,
        node_rank=membership.node_rank,
        settings_sha256=membership.settings_sha256,
        engine=membership.engine,
    )
    async with asyncio.timeout(_WELCOME_S):
        await call.write(pb.JoinRequest(membership=own))
        answer = await call.read()
    if not isinstance(answer, pb.JoinResponse) or answer.WhichOneof("frame") != "welcome":
        raise TimeoutError("it did not welcome this follower")
    log.info("joined the group of %s as node %d", answer.welcome.worker_id, membership.node_rank)


def _check_refusal(error: Exception) -> None:
    if isinstance(error, grpc.aio.AioRpcError) and error.code() is grpc.StatusCode.FAILED_PRECONDITION:
        raise WrongSettings(f"rank 0 refuses this follower: {error.details()}")


def _describe(error: Exception) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return str(error) or type(error).__name__
