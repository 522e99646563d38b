"""A supervisor in its own process, to be killed: it runs one stand-in process and prints that process's pid.

Arguments: FOLDER PORT BEHAVIOUR.
"""

import asyncio
import sys
from pathlib import Path
from random import Random

from services.local.data_folder import DataFolder
from services.local.process import Launcher
from services.local.supervisor import Supervisor
from services.shared.clock import SystemClock
from tests.integration.local.specs import standin


async def main(folder: Path, port: int, behaviour: str) -> None:
    data = DataFolder.at(folder)
    data.prepare()
    supervisor = Supervisor(Launcher(data, {}), clock=SystemClock(), random=Random(1), changed=lambda: None)
    await supervisor.start([standin(port, behaviour)])
    (record,) = supervisor.records()
    sys.stdout.write(f"{record.pid}\n")
    sys.stdout.flush()
    await asyncio.sleep(60)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
