"""`tidegate models prune`: removes from the registry what nobody needs any more."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import data_dir_option
from services.cli.commands import rollout
from services.cli.errors import CommandFailed

if TYPE_CHECKING:
    from services.shared.objectstore import ObjectStore
    from trainer.prune import Folder


def prune(
    older_than: Annotated[float, typer.Option(min=0, help="days that a version stays after it was published")] = 30,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only show what would go")] = False,
    data_dir: data_dir_option.DataDir = data_dir_option.DEFAULT,
    router: rollout.Router = None,
    json: data_dir_option.Json = False,
) -> None:
    """Remove versions that no alias, worker or rollout needs, and publishes that never ended.

    Where an alias pointed before it was last moved stays too, so that it can be rolled back. A version that is named
    nowhere but in a configuration, as a draft model, needs an alias to stay.
    """
    from services.shared.manifests import WrongManifest
    from services.shared.objectstore import StoreError

    store, at = rollout.store(data_dir), rollout.routers(data_dir, router)
    try:
        gone = asyncio.run(_prune(store, at, older_than, dry_run=dry_run))
    except StoreError as error:
        raise CommandFailed(f"the object store failed: {error}; call again to go on") from None
    except WrongManifest as error:
        raise CommandFailed(f"nothing was removed: {error}") from None
    _show(gone, dry_run=dry_run, json=json)


async def _prune(store: "ObjectStore", at: Sequence[str], days: float, *, dry_run: bool) -> "list[Folder]":
    from services.shared.clock import SystemClock
    from trainer.prune import Age, Pruning

    pruning = Pruning(store, await in_use(at), Age(days, SystemClock().wall()))
    found = await pruning.find()
    return found if dry_run else [folder for folder in found if await pruning.remove(folder)]


async def in_use(at: Sequence[str]) -> set[str]:
    """Versions that workers serve, that pools name, and that rollouts are to bring, or to put back."""
    from services.cli.control_client import pools
    from services.cli.rollout_watch import find
    from services.cli.worker_status import list_workers

    followed = await pools(at)
    rollouts = [found for pool in followed if (found := await find(at, pool))]
    return {
        *(worker.version for worker in await list_workers(at)),
        *(reference.which for reference in followed.values()),
        *(version for found in rollouts for version in (found.version, found.previous)),
    }


def _show(gone: "list[Folder]", *, dry_run: bool, json: bool) -> None:
    from datetime import UTC, datetime

    from rich.filesize import decimal

    from services.cli.views.output import out, print_json, print_table

    if json:
        print_json([{"model": folder.model, "version": folder.version, "size": folder.size} for folder in gone])
        return
    if gone:
        what = {True: "a version", False: "a publish that never ended"}
        rows = [
            (
                folder.model,
                folder.version[:12],
                decimal(folder.size),
                datetime.fromtimestamp(folder.written, UTC).date(),
                what[folder.is_whole],
            )
            for folder in gone
        ]
        print_table(("model", "version", "size", "written", "is"), rows)
    out().print(f"{decimal(sum(folder.size for folder in gone))} {'would go' if dry_run else 'removed'}")
