from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis

from loadtests.redis_server import programs, running
from services.router.app import RouterApp
from services.router.settings import RouterSettings
from tests.support import key_leaks

CONFIG = """
pools:
  - {name: tide, model: simulated, overtaking: 3, burst_tokens: 0, isolation: 0.01, engine: {kind: simulated}}
classes:
  flex: {max_queued: 3}
  batch: {max_queued: 3}
"""


@pytest.fixture(scope="session", params=programs(), ids=lambda program: Path(program).name)
def redis_server(request: pytest.FixtureRequest) -> Iterator[str]:
    with running(request.param) as server:
        yield server.url


@pytest.fixture
def redis_client(redis_server: str) -> Iterator[redis.Redis]:
    """An empty Redis."""
    client = redis.Redis.from_url(redis_server, decode_responses=True)
    client.flushall()
    yield client
    assert key_leaks.leaked_keys(client) == set()
    client.close()


@pytest.fixture
def settings(redis_server: str, redis_client: redis.Redis, tmp_path: Path) -> RouterSettings:
    config = tmp_path / "tidegate.yaml"
    config.write_text(CONFIG)
    return RouterSettings(
        config=config,
        listen="127.0.0.1:0",
        http_listen="127.0.0.1:0",
        redis_url=redis_server,
        session_lease_ms=1500,
        worker_lease_ms=1500,
        heartbeat_ms=100,
        detach_grace_ms=100,
        no_worker_grace_ms=500,
        upkeep_ms=20,
    )


@pytest.fixture
async def routers(settings: RouterSettings) -> AsyncIterator[tuple[RouterApp, RouterApp]]:
    """Two replicas on one Redis."""
    first, second = RouterApp(settings), RouterApp(settings)
    await first.start()
    await second.start()
    yield first, second
    await first.stop()
    await second.stop()
