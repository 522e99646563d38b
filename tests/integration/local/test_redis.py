"""Redis as `tidegate up` starts it: both server programs, with a password and without eviction."""

from pathlib import Path
from random import Random

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError

from services.local import redis
from services.local.data_folder import DataFolder
from services.local.ports import Ports
from services.local.process import Launcher
from services.local.supervisor import Supervisor
from services.shared.clock import SystemClock


@pytest.mark.parametrize("system_has_one", [True, False])
async def test_only_those_with_the_password_enter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ports: Ports, system_has_one: bool
) -> None:
    if not system_has_one:
        monkeypatch.setenv("PATH", str(tmp_path))
    folder, port = DataFolder.at(tmp_path / "data with space"), ports.free()
    folder.prepare()
    redis.write_config(folder, port, "secret")
    supervisor = Supervisor(Launcher(folder, {}), clock=SystemClock(), random=Random(1), changed=lambda: None)
    try:
        await supervisor.start([redis.spec(folder, port, "secret", redis.program())])
        async with Redis.from_url(redis.url(port, "secret")) as client:
            assert (await client.config_get("maxmemory-policy"))["maxmemory-policy"] == "noeviction"
        async with Redis.from_url(redis.url(port, "wrong")) as stranger:
            with pytest.raises(AuthenticationError):
                await stranger.ping()
    finally:
        await supervisor.stop()
