"""`tidegate models gc`: remove what nothing needs any more from the registry."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.errors import CommandFailed
from services.cli.options import DEFAULT_DATA_DIR, DataDir, Json, Router

if TYPE_CHECKING:
    from services.shared.objectstore import ObjectStore
    from trainer.garbage import Folder


def gc(
    keep_days: Annotated[float, typer.Option(min=0, help="days that every version stays after it was published")] = 30,
    keep_last: Annotated[
        int, typer.Option(min=0, help="versions of each model that stay, however old: those published last")
    ] = 3,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only show what would be removed")] = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    router: Router = None,
    json: Json = False,
) -> None:
    """Remove versions that no alias, pool, worker or rollout needs, and uploads that were never completed.

    The version that an alias pointed to before its last move stays, so that a rollback stays possible, and so does the
    base of an adapter that stays. Speculators stay as models do.
    """
    from services.cli.clients.control import router_addresses
    from services.cli.clients.registry import open_store
    from services.shared.manifests import WrongManifest
    from services.shared.objectstore import StoreError

    store, routers = open_store(data_dir), router_addresses(data_dir, router)
    try:
        removed = asyncio.run(_collect(store, routers, keep_days, keep_last, dry_run=dry_run))
    except StoreError as error:
        raise CommandFailed(f"the object store failed: {error}; call again to go on") from None
    except WrongManifest as error:
        raise CommandFailed(f"nothing was removed: {error}") from None
    _show(removed, dry_run=dry_run, json=json)


async def _collect(
    store: "ObjectStore", routers: Sequence[str], days: float, last: int, *, dry_run: bool
) -> "list[Folder]":
    from services.shared.clock import SystemClock
    from trainer.garbage import Garbage, Retention

    garbage = Garbage(store, await _in_use(routers), Retention(days, last, SystemClock().wall()))
    found = await garbage.find()
    return found if dry_run else [folder for folder in found if await garbage.remove(folder)]


async def _in_use(routers: Sequence[str]) -> set[str]:
    """Versions that workers serve, that pools name, and that rollouts bring or may put back."""
    from services.cli.clients.control import pools, speculators
    from services.cli.clients.rollouts import find
    from services.cli.clients.worker_status import list_workers

    followed, drafting = await pools(routers), await speculators(routers)
    rollouts = [found for pool in followed if (found := await find(routers, pool))]
    rollouts += [found for pool in drafting if (found := await find(routers, pool, speculator=True))]
    workers = await list_workers(routers)
    return {
        *(worker.version for worker in workers),
        *(worker.speculator_version for worker in workers),
        *(reference.which for reference in (*followed.values(), *drafting.values())),
        *(version for found in rollouts for version in (found.version, found.previous)),
    }


def _show(removed: "list[Folder]", *, dry_run: bool, json: bool) -> None:
    from rich.filesize import decimal

    from services.cli.views.models import garbage_table
    from services.cli.views.output import out, print_json, print_wide

    if json:
        print_json([{"model": folder.model, "version": folder.version, "size": folder.size} for folder in removed])
        return
    if removed:
        print_wide(garbage_table(removed))
    out().print(f"{decimal(sum(folder.size for folder in removed))} {'would go' if dry_run else 'removed'}")
