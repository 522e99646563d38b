"""The processes of a local cluster as a table."""

from rich.table import Table

from services.cli.views.output import build_table
from services.local.cluster_record import ClusterRecord

_COLUMNS = ("process", "pid", "address", "metrics", "state", "restarts")


def process_table(record: ClusterRecord) -> Table:
    """One row for each process."""
    rows = ((p.name, p.pid or "-", p.address, p.http_address, p.state, p.restarts) for p in record.processes)
    return build_table(_COLUMNS, rows)
