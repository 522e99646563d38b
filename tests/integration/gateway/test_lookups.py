"""Names that cannot be looked up for a while, as when a container is replaced, cost time and no request."""

from types import SimpleNamespace
from typing import cast

import grpc
import pytest

from services.shared import rpc
from tests.integration.gateway.conftest import Cluster
from tests.support.fakes import MODEL, FakeWorker
from tests.support.names import Mood, name_server
from tidegate.worker.v1 import worker_pb2, worker_pb2_grpc

FAILURES = 5
"""More than the failures in a row that a request survives on workers that had it."""


def under_names(worker: FakeWorker, address: str, names: int) -> tuple[FakeWorker, ...]:
    """The worker under several ids, for this router grants no worker twice; it is reached by a name."""
    return tuple(
        cast(
            FakeWorker,
            SimpleNamespace(worker_id=f"worker-{name}", address=address, epoch=worker.epoch, version=worker.version),
        )
        for name in range(names)
    )


async def test_a_request_waits_until_the_worker_can_be_connected_to(cluster: Cluster) -> None:
    port = cluster.worker.address.rpartition(":")[2]
    async with name_server() as (names, beginning):
        names.mood, names.recovers_after = Mood.NO_SUCH_NAME, FAILURES
        cluster.router.workers = under_names(cluster.worker, f"{beginning}worker.test:{port}", FAILURES + 1)
        answer = await cluster.http.post("/v1/completions", json={"model": MODEL, "prompt": "a"})
        assert answer.status_code == 200, answer.text
        assert [submit.attempt for submit in cluster.router.submits] == list(range(1, FAILURES + 2))


async def test_a_lookup_whose_packets_are_lost_is_begun_again_soon(cluster: Cluster) -> None:
    """The resolver's own way is to ask again after 2, 5 and more seconds, and every server in turn."""
    port = cluster.worker.address.rpartition(":")[2]
    async with name_server() as (names, beginning):
        names.mood = Mood.SILENT
        async with rpc.channel(f"{beginning}worker.test:{port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError, match="resolving"):
                await worker_pb2_grpc.WorkerServiceStub(channel).Tokenize(worker_pb2.TokenizeRequest(text="a"))
        assert names.asked <= 2
