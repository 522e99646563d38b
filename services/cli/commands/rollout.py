"""`tidegate rollout`: bring running workers to another version of their model."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import data_dir_option
from services.cli.errors import CommandFailed

if TYPE_CHECKING:
    from services.cli.rollout_watch import Rollout
    from services.shared.manifests import Manifest
    from services.shared.objectstore import ObjectStore

app = typer.Typer(help="Change the weights of running workers, one worker at a time.", no_args_is_help=True)

Model = Annotated[str, typer.Argument(help="model in the registry")]
Router = Annotated[str | None, typer.Option(help="host:port of a router, instead of a local cluster's")]
Pool = Annotated[str | None, typer.Option(help="which pool, where several serve the model")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="stay until it has ended")]
FinishLimit = Annotated[
    float | None, typer.Option(min=0, help="seconds that running requests of a worker get; default: the worker's own")
]


@app.command("start")
def start(
    model: Model,
    version: Annotated[str, typer.Argument(help="a version, its beginning, or an alias")],
    pool: Pool = None,
    finish_limit: FinishLimit = None,
    wait: Wait = True,
    data_dir: data_dir_option.DataDir = data_dir_option.DEFAULT,
    router: Router = None,
    json: data_dir_option.Json = False,
) -> None:
    """Deliver a version to every worker of a pool. Exit status 1: it failed, and what had changed was put back."""
    registry, at = store(data_dir), routers(data_dir, router)
    show(asyncio.run(_start(registry, at, model, version, pool=pool, finish_s=finish_limit, wait=wait)), json=json)


@app.command("status")
def status(
    pool: Annotated[str | None, typer.Argument(help="which pool, where there are several")] = None,
    wait: Wait = True,
    data_dir: data_dir_option.DataDir = data_dir_option.DEFAULT,
    router: Router = None,
    json: data_dir_option.Json = False,
) -> None:
    """Show a pool's last rollout, and follow it while it runs. Exit status 1: it failed."""
    show(asyncio.run(_status(routers(data_dir, router), pool, wait=wait)), json=json)


@app.command("stop")
def stop(
    pool: Annotated[str | None, typer.Argument(help="which pool, where there are several")] = None,
    data_dir: data_dir_option.DataDir = data_dir_option.DEFAULT,
    router: Router = None,
) -> None:
    """Give up a running rollout: workers that have changed go back."""
    from services.cli.views.output import out

    rollout = asyncio.run(_stop(routers(data_dir, router), pool))
    out().print(f"the rollout of {rollout.version[:12]} to {rollout.pool} is given up")


def store(data_dir: Path) -> "ObjectStore":
    from services.cli.registry_access import store_settings
    from services.shared.objectstore import connect

    return connect(store_settings(data_dir))


def routers(data_dir: Path, router: str | None) -> tuple[str, ...]:
    from services.cli.running_cluster import running_cluster

    return (router,) if router else running_cluster(data_dir).addresses.routers


def show(rollout: "Rollout", *, json: bool) -> None:
    """Raises CommandFailed when it failed."""
    from services.cli.rollout_watch import table
    from services.cli.views.output import out, print_json

    if json:
        print_json(rollout.model_dump())
    else:
        out().print(table(rollout))
    rollout.check()


async def roll(at: Sequence[str], pool: str, version: str, *, finish_s: float | None, wait: bool) -> "Rollout":
    from services.cli.rollout_watch import follow, start
    from services.cli.views.output import err

    started = await start(at, pool, version, finish_s)
    return await follow(at, started, err()) if wait else started


async def manifest_of(registry: "ObjectStore", model: str, version: str) -> "Manifest":
    from services.shared.manifests import WrongManifest
    from services.shared.objectstore import StoreError
    from services.shared.registry import Registry, UnknownVersion

    try:
        return await Registry(registry).find(model, version)
    except (UnknownVersion, WrongManifest) as error:
        raise CommandFailed(str(error)) from None
    except StoreError as error:
        raise CommandFailed(f"the object store cannot be read: {error}") from None


async def _start(
    registry: "ObjectStore",
    at: Sequence[str],
    model: str,
    version: str,
    *,
    pool: str | None,
    finish_s: float | None,
    wait: bool,
) -> "Rollout":
    from services.cli.control_client import pool_of

    manifest = await manifest_of(registry, model, version)
    return await roll(at, await pool_of(at, model, pool), manifest.version, finish_s=finish_s, wait=wait)


async def _status(at: Sequence[str], pool: str | None, *, wait: bool) -> "Rollout":
    from services.cli.control_client import only_pool
    from services.cli.rollout_watch import follow, last
    from services.cli.views.output import err

    rollout = await last(at, await only_pool(at, pool))
    return await follow(at, rollout, err()) if wait else rollout


async def _stop(at: Sequence[str], pool: str | None) -> "Rollout":
    from services.cli.control_client import only_pool
    from services.cli.rollout_watch import stop

    return await stop(at, await only_pool(at, pool))
