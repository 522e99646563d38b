"""`tidegate models stage`: bring a version to the workers' disks ahead of its rollout."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.options import DEFAULT_DATA_DIR, DataDir, Json, Model, Router, Version

if TYPE_CHECKING:
    from services.cli.clients.version_staging import Staging
    from services.shared.objectstore import ObjectStore


def stage(
    model: Model,
    version: Version,
    pool: Annotated[str | None, typer.Option(help="the pool, if several pools serve the model")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="wait until every worker has the version")] = True,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    router: Router = None,
    json: Json = False,
) -> None:
    """Have every worker of a pool fetch and verify a version now, so that its rollout only has to load it.

    The workers serve meanwhile. Each keeps one such version, until its next weight update has ended or another version
    is staged. Exit status 1: a worker cannot have the version, and the table says why.
    """
    from services.cli.clients.control import router_addresses
    from services.cli.clients.registry import open_store
    from services.cli.views.output import print_json, print_wide
    from services.cli.views.version_staging import staging_table

    store, routers = open_store(data_dir), router_addresses(data_dir, router)
    staging = asyncio.run(_stage(store, routers, model, version, pool, wait=wait))
    if json:
        print_json(staging.model_dump())
    else:
        print_wide(staging_table(staging))
    staging.check()


async def _stage(
    store: "ObjectStore", routers: Sequence[str], model: str, version: str, pool: str | None, *, wait: bool
) -> "Staging":
    from services.cli.clients import version_staging
    from services.cli.clients.control import place_of
    from services.cli.clients.registry import find_manifest
    from services.cli.views.output import err
    from services.cli.views.version_staging import follow_staging

    manifest = await find_manifest(store, model, version)
    to, speculator = await place_of(routers, manifest, pool)
    begun = await version_staging.begin(routers, to, manifest.version, speculator=speculator)
    return await follow_staging(routers, begun, err()) if wait else begun
