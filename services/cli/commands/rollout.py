"""`tidegate rollout`: change the model version of running workers."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.options import DEFAULT_DATA_DIR, DataDir, FinishLimit, Json, Model, Router, Version

if TYPE_CHECKING:
    from services.cli.clients.rollouts import Rollout
    from services.shared.objectstore import ObjectStore

app = typer.Typer(help="Change the weights of running workers, one worker at a time.", no_args_is_help=True)

Pool = Annotated[str | None, typer.Option(help="the pool, if several pools serve the model")]
PoolName = Annotated[str | None, typer.Argument(help="the pool, if there are several")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="wait until the rollout has ended")]


@app.command("start")
def start(
    model: Model,
    version: Version,
    pool: Pool = None,
    finish_limit: FinishLimit = None,
    wait: Wait = True,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    router: Router = None,
    json: Json = False,
) -> None:
    """Bring every worker of a pool to a version. Exit status 1: it failed, and all changed workers went back."""
    from services.cli.clients.control import router_addresses
    from services.cli.clients.registry import open_store

    store, routers = open_store(data_dir), router_addresses(data_dir, router)
    _show(asyncio.run(_start(store, routers, model, version, pool=pool, finish_s=finish_limit, wait=wait)), json=json)


@app.command("status")
def status(
    pool: PoolName = None,
    wait: Wait = True,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    router: Router = None,
    json: Json = False,
) -> None:
    """Show the last rollout of a pool, and follow it while it runs. Exit status 1: it failed."""
    from services.cli.clients.control import router_addresses

    _show(asyncio.run(_status(router_addresses(data_dir, router), pool, wait=wait)), json=json)


@app.command("stop")
def stop(
    pool: PoolName = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    router: Router = None,
) -> None:
    """Stop a running rollout. Workers that have changed go back to their former version."""
    from services.cli.clients.control import router_addresses
    from services.cli.views.output import out

    rollout = asyncio.run(_stop(router_addresses(data_dir, router), pool))
    out().print(f"the rollout of {rollout.version[:12]} to {rollout.pool} is given up")


async def _start(
    store: "ObjectStore",
    routers: Sequence[str],
    model: str,
    version: str,
    *,
    pool: str | None,
    finish_s: float | None,
    wait: bool,
) -> "Rollout":
    from services.cli.clients import rollouts
    from services.cli.clients.control import pool_of
    from services.cli.clients.registry import find_manifest

    manifest = await find_manifest(store, model, version)
    rollout = await rollouts.start(routers, await pool_of(routers, model, pool), manifest.version, finish_s)
    return await _ended(routers, rollout) if wait else rollout


async def _status(routers: Sequence[str], pool: str | None, *, wait: bool) -> "Rollout":
    from services.cli.clients import rollouts
    from services.cli.clients.control import only_pool

    rollout = await rollouts.last(routers, await only_pool(routers, pool))
    return await _ended(routers, rollout) if wait else rollout


async def _stop(routers: Sequence[str], pool: str | None) -> "Rollout":
    from services.cli.clients import rollouts
    from services.cli.clients.control import only_pool

    return await rollouts.stop(routers, await only_pool(routers, pool))


async def _ended(routers: Sequence[str], rollout: "Rollout") -> "Rollout":
    from services.cli.views.output import err
    from services.cli.views.rollout import follow_rollout

    return await follow_rollout(routers, rollout, err())


def _show(rollout: "Rollout", *, json: bool) -> None:
    """Raises CommandFailed when the rollout failed."""
    from services.cli.views.output import out, print_json
    from services.cli.views.rollout import rollout_table
    from services.cli.views.rollout_gate import gate_table

    if json:
        print_json(rollout.model_dump())
    else:
        out().print(rollout_table(rollout))
        if rollout.gate and rollout.gate.figures:
            out().print(gate_table(rollout.gate))
    rollout.check()
