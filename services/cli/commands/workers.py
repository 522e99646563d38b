"""`tidegate workers`: what the router knows of the workers, and taking one out of service."""

import asyncio
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import data_dir_option
from services.cli.commands.rollout import Router, routers
from services.cli.durations import milliseconds, words
from services.cli.errors import CommandFailed
from services.cli.views.live import Watch, watch

if TYPE_CHECKING:
    from rich.console import RenderableType

    from services.cli.worker_status import Worker

app = typer.Typer(help="The workers, as the router sees them.", invoke_without_command=True)


@app.callback()
def workers(
    context: typer.Context,
    watched: Watch = False,
    data_dir: data_dir_option.DataDir = data_dir_option.DEFAULT,
    router: Router = None,
    json: data_dir_option.Json = False,
) -> None:
    """The workers of every pool, as the router sees them."""
    if context.invoked_subcommand is None:
        _list(data_dir, router, watched=watched, json=json)


@app.command("list")
def list_(
    watched: Watch = False,
    data_dir: data_dir_option.DataDir = data_dir_option.DEFAULT,
    router: Router = None,
    json: data_dir_option.Json = False,
) -> None:
    """List the workers of every pool."""
    _list(data_dir, router, watched=watched, json=json)


@app.command("drain")
def drain(
    worker: str,
    timeout: Annotated[
        int, typer.Option(parser=milliseconds, metavar="DURATION", help="time for what runs there to end")
    ] = "30s",  # type: ignore[assignment]
    data_dir: data_dir_option.DataDir = data_dir_option.DEFAULT,
    router: Router = None,
) -> None:
    """Grant a worker nothing more, and let it stop once what it runs has ended."""
    from services.cli.views.output import out
    from services.cli.worker_status import drain_worker, list_workers

    at = routers(data_dir, router)
    known = {known.id: known for known in asyncio.run(list_workers(at))}
    if worker not in known:
        raise CommandFailed(f"no worker {worker} (there are: {', '.join(sorted(known)) or 'none'})")
    asyncio.run(drain_worker(at, known[worker].pool, worker, timeout))
    out().print(f"{worker} drains: {known[worker].running} running, at most {words(timeout)}")


def _list(data_dir: Path, router: str | None, *, watched: bool, json: bool) -> None:
    from services.cli.views.output import print_json, print_wide
    from services.cli.worker_status import list_workers

    at = routers(data_dir, router)
    if watched:
        watch(lambda: list_workers(at), tables)
        return
    found = asyncio.run(list_workers(at))
    if json:
        print_json([worker.model_dump() for worker in found])
    else:
        print_wide(tables(found))


_COLUMNS = ("worker", "state", "version", "running", "waiting", "KV used", "reserved", "silent")


def tables(workers: "list[Worker]") -> "RenderableType":
    """By pool, in whose order they come."""
    from services.cli.views.output import build_table, titled

    if not workers:
        return "no workers"
    pools = groupby(workers, key=lambda worker: worker.pool)
    return titled((pool, build_table(_COLUMNS, map(_row, those))) for pool, those in pools)


def _row(worker: "Worker") -> tuple[object, ...]:
    running = f"{worker.running}/{worker.slots}"
    used, reserved = (_share(tokens, worker) for tokens in (worker.kv_tokens_used, worker.kv_tokens_reserved))
    silent = words(worker.heartbeat_age_ms)
    return (worker.id, worker.state, worker.version[:12] or "-", running, worker.waiting, used, reserved, silent)


def _share(tokens: int, worker: "Worker") -> str:
    return f"{tokens / worker.kv_tokens:.0%}" if worker.kv_tokens else "-"
