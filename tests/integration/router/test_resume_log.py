"""Resume logs on a real Redis: what gateways write of their streams, how much is kept, and for how long."""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import redis

from services.router.app import RouterApp
from services.router.settings import RouterSettings
from services.shared.rpc import channel
from tests.support.peers import Gateway, gateway, worker
from tests.support.wait import wait_until
from tidegate.router.v1 import router_pb2 as pb
from tidegate.router.v1.router_pb2_grpc import RouterServiceStub

CONFIG = """
pools:
  - name: tide
    model: simulated
    engine: {kind: simulated}
    journal: {streams: 3, tenant_streams: 2, stream_kib: 1, keep_s: 1}
"""


@pytest.fixture
async def router(settings: RouterSettings, tmp_path: Path) -> AsyncIterator[RouterApp]:
    config = tmp_path / "kept.yaml"
    config.write_text(CONFIG)
    app = RouterApp(settings.model_copy(update={"config": config}))
    await app.start()
    yield app
    await app.stop()


async def write(peer: Gateway, *parts: tuple[str, int, bytes], tenant: str = "t", pool: str = "tide") -> list[int]:
    """Length of each log afterwards; -1: no room."""
    frame = pb.JournalWrite(
        parts=[pb.LogPart(request_id=i, pool=pool, tenant=tenant, offset=at, data=data) for i, at, data in parts]
    )
    await peer.send(pb.GatewayFrame(journal_write=frame))
    written = await peer.next("journal_written")
    assert isinstance(written, pb.JournalWritten)
    assert [log.request_id for log in written.logs] == [request_id for request_id, _, _ in parts]
    return [-1 if log.full else log.length for log in written.logs]


async def read(router: RouterApp, request_id: str) -> bytes:
    async with channel(router.address) as connection:
        request = pb.ReadLogRequest(pool="tide", request_id=request_id)
        return (await RouterServiceStub(connection).ReadLog(request)).log


async def is_kept(router: RouterApp, request_id: str) -> bool:
    try:
        await read(router, request_id)
    except grpc.aio.AioRpcError as error:
        return error.code() is not grpc.StatusCode.NOT_FOUND
    return True


async def test_a_log_has_no_hole_and_nothing_twice(router: RouterApp, redis_client: redis.Redis) -> None:
    async with gateway(router.address) as peer:
        assert await write(peer, ("a", 0, b"one"), ("b", 0, b"\x00\xff")) == [3, 2]
        assert await write(peer, ("a", 3, b"two"), ("a", 0, b"onetwo3"), ("a", 2, b"x")) == [6, 7, 7]
        assert await write(peer, ("a", 9, b"hole"), ("c", 1, b"hole")) == [7, 0]
        assert [await read(router, name) for name in "ab"] == [b"onetwo3", b"\x00\xff"]
        assert not await is_kept(router, "c")
        # All of Redis would take the gateway's session too, and with it the stream.
        redis_client.delete(*redis_client.scan_iter("*log*"))
        # The answer to the part after those that were lost is how much is left, so the gateway begins again there.
        assert await write(peer, ("a", 7, b"4")) == [0]
        assert await write(peer, ("a", 0, b"onetwo34")) == [8]
        assert await read(router, "a") == b"onetwo34"


async def test_it_is_bounded_in_bytes_and_in_streams_of_a_tenant_and_of_all(router: RouterApp) -> None:
    async with gateway(router.address) as peer:
        assert await write(peer, ("a", 0, b"x" * 1024), ("a", 1024, b"x"), ("b", 0, b"x" * 1025)) == [1024, -1, -1]
        assert await write(peer, ("b", 0, b"x"), ("c", 0, b"x"), ("b", 1, b"x")) == [1, -1, 2]
        assert await write(peer, ("d", 0, b"x"), ("e", 0, b"x"), tenant="other") == [1, -1]
        assert await write(peer, ("f", 0, b"x"), pool="without-a-journal") == [-1]


async def test_what_stands_still_makes_room(router: RouterApp, redis_client: redis.Redis) -> None:
    async with gateway(router.address) as peer:
        names = (f"stream-{n}" for n in itertools.count())
        assert await write(peer, ("a", 0, b"x"), ("b", 0, b"x")) == [1, 1]

        async def has_room() -> bool:
            return await write(peer, (next(names), 0, b"x")) == [1]

        await wait_until(has_room, description="those of before have expired")
        assert not await is_kept(router, "a")

        def empty() -> bool:
            return not [key for key in redis_client.scan_iter() if ":log" in str(key)]

        await wait_until(empty, description="nothing of the journal is left")


async def test_a_gateway_that_was_killed_holds_its_slots_for_a_moment_only(
    settings: RouterSettings, redis_client: redis.Redis
) -> None:
    router = RouterApp(settings.model_copy(update={"session_lease_ms": 60_000}))
    await router.start()
    try:
        async with worker(router.address), gateway(router.address) as other:
            async with gateway(router.address) as killed:
                await killed.submit("running")
                assert await killed.granted() == "running"
                await other.submit("waiting")
                await other.next("queued")
            assert await other.granted() == "waiting"
    finally:
        await router.stop()
