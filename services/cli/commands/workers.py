"""`tidegate workers`: the workers as the router sees them, and taking one out of service."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from services.cli.durations import milliseconds, words
from services.cli.errors import CommandFailed
from services.cli.options import DEFAULT_DATA_DIR, DataDir, Json, Router, Watch

app = typer.Typer(help="Show the workers as the router sees them, and drain one.", invoke_without_command=True)


@app.callback()
def workers(
    context: typer.Context,
    watched: Watch = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    router: Router = None,
    json: Json = False,
) -> None:
    """Show the workers of every pool, as the router sees them."""
    if context.invoked_subcommand is None:
        _list(data_dir, router, watched=watched, json=json)


@app.command("list")
def list_(
    watched: Watch = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    router: Router = None,
    json: Json = False,
) -> None:
    """List the workers of every pool."""
    _list(data_dir, router, watched=watched, json=json)


@app.command("drain")
def drain(
    worker: str,
    timeout: Annotated[
        int, typer.Option(parser=milliseconds, metavar="DURATION", help="time that its running requests get to finish")
    ] = "30s",  # type: ignore[assignment]
    data_dir: DataDir = DEFAULT_DATA_DIR,
    router: Router = None,
) -> None:
    """Send no more requests to a worker. It stops when its running requests have ended."""
    from services.cli.clients.control import router_addresses
    from services.cli.clients.worker_status import drain_worker, list_workers
    from services.cli.views.output import out

    routers = router_addresses(data_dir, router)
    known = {known.id: known for known in asyncio.run(list_workers(routers))}
    if worker not in known:
        raise CommandFailed(f"no worker {worker} (there are: {', '.join(sorted(known)) or 'none'})")
    asyncio.run(drain_worker(routers, known[worker].pool, worker, timeout))
    out().print(f"{worker} drains: {known[worker].running} running, at most {words(timeout)}")


def _list(data_dir: Path, router: str | None, *, watched: bool, json: bool) -> None:
    from services.cli.clients.control import router_addresses
    from services.cli.clients.worker_status import list_workers
    from services.cli.views.live import watch
    from services.cli.views.output import print_json, print_wide
    from services.cli.views.workers import worker_tables

    routers = router_addresses(data_dir, router)
    if watched:
        watch(lambda: list_workers(routers), worker_tables)
        return
    found = asyncio.run(list_workers(routers))
    if json:
        print_json([worker.model_dump() for worker in found])
    else:
        print_wide(worker_tables(found))
