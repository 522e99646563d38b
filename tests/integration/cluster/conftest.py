from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from loadtests.redis_server import RedisServer, running
from tests.integration.cluster.whole import WholeCluster


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with running() as server:
        yield server


@pytest.fixture
async def cluster(redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[WholeCluster]:
    redis_server.client.flushall()
    async with AsyncExitStack() as stack:
        yield WholeCluster(tmp_path, redis_server.url, stack)
