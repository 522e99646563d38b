"""`tidegate down`: stop the cluster, even if its supervisor has died."""

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from services.cli.errors import CommandFailed
from services.cli.options import DEFAULT_DATA_DIR, DataDir

if TYPE_CHECKING:
    from services.local.cluster_record import ClusterRecord

STOP_LIMIT_S = 120.0
KILL_LIMIT_S = 10.0
_LOOK_EVERY_S = 0.05


def down(data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Stop the cluster that `tidegate up` started. No process is left behind."""
    from services.cli.views.output import err
    from services.local import cluster_record, orphans
    from services.local.data_folder import DataFolder

    folder = DataFolder.at(data_dir)
    record = cluster_record.load(folder.state)
    if record is None:
        err().print(f"nothing is running in {folder.root}")
        return
    stopped = _stop_supervisor(record)
    # The supervisor may have started processes again since we read its record.
    ended, left = orphans.end(cluster_record.load(folder.state) or record)
    if left:
        pids = ", ".join(str(process.pid) for process in left)
        raise CommandFailed(f"these processes cannot be ended: {pids}. Their record is kept: {folder.state}")
    folder.state.unlink(missing_ok=True)
    if stopped:
        err().print("stopped")
    else:
        err().print(f"the supervisor had ended already; ended {ended} of its processes and cleaned up")


def _stop_supervisor(record: "ClusterRecord") -> bool:
    """False when it had ended already. It is killed when it does not stop in time; that ends its processes too."""
    if not record.is_supervised:
        return False
    for signal_number, limit_s in ((signal.SIGTERM, STOP_LIMIT_S), (signal.SIGKILL, KILL_LIMIT_S)):
        with suppress(ProcessLookupError):
            os.kill(record.supervisor_pid, signal_number)
        if _ends_within(record, limit_s):
            return True
    raise CommandFailed(f"the supervisor cannot be ended, pid {record.supervisor_pid}")


def _ends_within(record: "ClusterRecord", seconds: float) -> bool:
    """A zombie counts as ended: only its parent has not read its exit status yet."""
    give_up = time.monotonic() + seconds
    while record.is_supervised:
        if time.monotonic() > give_up:
            return False
        time.sleep(_LOOK_EVERY_S)
    return True
