"""`tidegate status`: processes as the supervisor sees them, workers as the router sees them."""

import asyncio
from typing import TYPE_CHECKING, Any

from services.cli.errors import CommandFailed
from services.cli.options import DEFAULT_DATA_DIR, DataDir, Json

if TYPE_CHECKING:
    from services.cli.clients.worker_status import Worker
    from services.local.cluster_record import ClusterRecord


def status(data_dir: DataDir = DEFAULT_DATA_DIR, json: Json = False) -> None:
    """Show the processes and workers of the cluster. Exit status 3: no cluster is running."""
    from services.cli.views.output import print_json
    from services.local.errors import ClusterError
    from services.local.running_cluster import running_cluster

    try:
        record = running_cluster(data_dir)
    except ClusterError:
        if json:
            print_json({"state": "stopped", "processes": [], "workers": []})
        raise
    workers, trouble = _workers(record)
    if json:
        print_json(_document(record, workers, trouble))
    else:
        _print(record, workers, trouble)


def _workers(record: "ClusterRecord") -> "tuple[list[Worker], str | None]":
    """The workers, and why they could not be listed, if so."""
    from services.cli.clients.worker_status import list_workers

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
        "processes": [process.model_dump(exclude={"created", "leftover_files"}) for process in record.processes],
        "workers": [worker.model_dump() for worker in workers],
        "workers_error": trouble,
    }


def _print(record: "ClusterRecord", workers: "list[Worker]", trouble: str | None) -> None:
    from services.cli.views.output import err, out, print_wide
    from services.cli.views.processes import process_table
    from services.cli.views.workers import worker_tables

    out().print(f"{record.state}: REST http://{record.addresses.rest}/v1, gRPC {record.addresses.grpc}\n")
    print_wide(process_table(record))
    out().print()
    if trouble:
        err().print(trouble, style="red", markup=False)
    else:
        print_wide(worker_tables(workers))
