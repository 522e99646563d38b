"""A real S3 server for tests: the SeaweedFS that `tidegate up` runs, started the same way."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

from services.local import s3
from services.local.data_folder import DataFolder
from services.local.ports import Ports
from services.local.process import Launcher
from services.local.secrets import Secrets
from services.local.supervisor import Supervisor
from services.shared.clock import SystemClock
from services.shared.objectstore import StoreSettings


@asynccontextmanager
async def running_s3(folder: Path) -> AsyncIterator[StoreSettings]:
    """Yields how to reach a fresh server; `folder` is for its files."""
    data, secrets = DataFolder.at(folder / "cluster"), Secrets.generate()
    data.prepare()
    s3.write_config(data, secrets)
    supervisor = Supervisor(Launcher(data, {}), clock=SystemClock(), random=Random(), changed=lambda: None)
    with Ports(Random()) as free:
        ports = s3.StorePorts.choose(free)
        try:
            await supervisor.start([s3.spec(data, ports, secrets, s3.program())])
            yield s3.settings(ports, secrets)
        finally:
            await supervisor.stop()
