"""`tidegate workers`: what the router knows of the workers."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import folders

if TYPE_CHECKING:
    from services.cli.roster import Worker

app = typer.Typer(help="The workers, as the router sees them.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """A group even while it has one command."""


@app.command("list")
def list_(
    data_dir: folders.DataDir = folders.DEFAULT,
    router: Annotated[str | None, typer.Option(help="host:port of a router, instead of a local cluster's")] = None,
    json: folders.Json = False,
) -> None:
    """List the workers of every pool."""
    from services.cli.console import print_json
    from services.cli.roster import list_workers
    from services.cli.running import running_cluster

    routers = (router,) if router else running_cluster(data_dir).addresses.routers
    workers = asyncio.run(list_workers(routers))
    if json:
        print_json([worker.model_dump() for worker in workers])
    else:
        print_workers(workers)


def print_workers(workers: "list[Worker]") -> None:
    from services.cli.console import print_table

    columns = ("worker", "pool", "pid", "state", "version", "running", "KV tokens")
    print_table(columns, [_row(worker) for worker in workers])


def _row(worker: "Worker") -> tuple[object, ...]:
    running = f"{worker.running} of {worker.slots}"
    kv = f"{worker.kv_tokens_used} of {worker.kv_tokens}"
    return (worker.id, worker.pool, worker.pid, worker.state, worker.version[:12] or "-", running, kv)
