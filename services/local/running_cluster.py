"""The cluster that runs in a data folder, for the commands that need one."""

from pathlib import Path

from services.local import cluster_record
from services.local.cluster_record import ClusterRecord
from services.local.data_folder import DataFolder
from services.local.errors import NOT_RUNNING, ClusterError


def running_cluster(data_dir: Path) -> ClusterRecord:
    """Reads what runs in `data_dir`.

    Raises:
        ClusterError: No cluster runs there.
    """
    folder = DataFolder.at(data_dir)
    record = cluster_record.load(folder.state)
    if record is None:
        raise ClusterError(f"no cluster runs in {folder.root}: start one with `tidegate up`", status=NOT_RUNNING)
    if not record.is_supervised:
        raise ClusterError(
            f"the supervisor of {folder.root} (pid {record.supervisor_pid}) has ended: clean up with `tidegate down`",
            status=NOT_RUNNING,
        )
    return record
