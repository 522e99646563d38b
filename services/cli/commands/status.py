"""`tidegate status`: processes as the supervisor sees them, workers as the router does."""

import asyncio
from typing import TYPE_CHECKING, Any

from services.cli import data_dir_option
from services.cli.errors import CommandFailed

if TYPE_CHECKING:
    from rich.table import Table

    from services.cli.worker_status import Worker
    from services.local.cluster_record import ClusterRecord


def status(data_dir: data_dir_option.DataDir = data_dir_option.DEFAULT, json: data_dir_option.Json = False) -> None:
    """Show the cluster's processes and workers. Exit status 3: none is running."""
    from services.cli.running_cluster import running_cluster
    from services.cli.views.output import print_json

    try:
        record = running_cluster(data_dir)
    except CommandFailed:
        if json:
            print_json({"state": "stopped", "processes": [], "workers": []})
        raise
    workers, trouble = _workers(record)
    if json:
        print_json(_document(record, workers, trouble))
    else:
        _print(record, workers, trouble)


def _workers(record: "ClusterRecord") -> "tuple[list[Worker], str | None]":
    """And what kept us from asking, if anything did."""
    from services.cli.worker_status import list_workers

    try:
        return asyncio.run(list_workers(record.addresses.routers)), None
    except CommandFailed as error:
        return [], str(error)


def _document(record: "ClusterRecord", workers: "list[Worker]", trouble: str | None) -> dict[str, Any]:
    return {
        "state": record.state,
        "supervisor": {"pid": record.supervisor_pid},
        "addresses": record.addresses.model_dump(mode="json"),
        "models": list(record.models),
        "processes": [process.model_dump(exclude={"created", "litter"}) for process in record.processes],
        "workers": [worker.model_dump() for worker in workers],
        "workers_error": trouble,
    }


def _print(record: "ClusterRecord", workers: "list[Worker]", trouble: str | None) -> None:
    from services.cli.commands.workers import tables
    from services.cli.views.output import err, out, print_wide

    out().print(f"{record.state}: REST http://{record.addresses.rest}/v1, gRPC {record.addresses.grpc}\n")
    print_wide(processes(record))
    out().print()
    if trouble:
        err().print(trouble, style="red", markup=False)
    else:
        print_wide(tables(workers))


def processes(record: "ClusterRecord") -> "Table":
    from services.cli.views.output import build_table

    columns = ("process", "pid", "address", "metrics", "state", "restarts")
    rows = ((p.name, p.pid or "-", p.address, p.http_address, p.state, p.restarts) for p in record.processes)
    return build_table(columns, rows)
