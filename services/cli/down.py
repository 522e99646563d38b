"""`tidegate down`: stop the cluster, whatever became of its supervisor."""

import os
import signal
from typing import TYPE_CHECKING

from services.cli import folders
from services.cli.errors import CommandFailed

if TYPE_CHECKING:
    from services.cli.local.state import ClusterRecord

STOP_LIMIT_S = 120.0


def down(data_dir: folders.DataDir = folders.DEFAULT) -> None:
    """Stop the cluster that `up` started, and see to it that nothing is left."""
    from services.cli.console import err
    from services.cli.local import leftovers, state
    from services.cli.local.folder import DataFolder

    folder = DataFolder.at(data_dir)
    record = state.load(folder.state)
    if record is None:
        err().print(f"nothing is running in {folder.root}")
        return
    stopped = _stop_supervisor(record)
    # The supervisor may have started processes again since we read its record.
    ended, left = leftovers.end(state.load(folder.state) or record)
    if left:
        pids = ", ".join(str(process.pid) for process in left)
        raise CommandFailed(f"these processes will not go: {pids}. Their state file is kept: {folder.state}")
    folder.state.unlink(missing_ok=True)
    if stopped:
        err().print("stopped")
    else:
        err().print(f"the supervisor was gone already; ended {ended} of its processes and cleaned up")


def _stop_supervisor(record: "ClusterRecord") -> bool:
    """False when it was gone. One that does not stop in time is killed, which ends its processes too."""
    import psutil

    if not record.is_supervised:
        return False
    supervisor = psutil.Process(record.supervisor_pid)
    os.kill(record.supervisor_pid, signal.SIGTERM)
    _, alive = psutil.wait_procs([supervisor], timeout=STOP_LIMIT_S)
    for process in alive:
        process.kill()
        process.wait(10)
    return True
