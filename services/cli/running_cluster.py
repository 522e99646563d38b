"""The running cluster of a data folder, for the commands that need one."""

from pathlib import Path

from services.cli.errors import NOT_RUNNING, CommandFailed
from services.local import cluster_record
from services.local.cluster_record import ClusterRecord
from services.local.data_folder import DataFolder


def running_cluster(data_dir: Path) -> ClusterRecord:
    """Raises CommandFailed when none runs."""
    folder = DataFolder.at(data_dir)
    record = cluster_record.load(folder.state)
    if record is None:
        raise CommandFailed(f"no cluster runs in {folder.root}: start one with `tidegate up`", status=NOT_RUNNING)
    if not record.is_supervised:
        raise CommandFailed(
            f"the supervisor of {folder.root} (pid {record.supervisor_pid}) is gone: clean up with `tidegate down`",
            status=NOT_RUNNING,
        )
    return record
