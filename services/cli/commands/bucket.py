"""`tidegate bucket`: copies of the object store's bucket, for backups."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.errors import CommandFailed
from services.cli.options import DEFAULT_DATA_DIR, DataDir, Json

if TYPE_CHECKING:
    from services.shared.bucket_copy import Index
    from services.shared.objectstore import ObjectStore, Progress

app = typer.Typer(help="The bucket with models, files and batches: save and restore.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="folder with the copies")]
Name = Annotated[str, typer.Argument(help="name of the copy: a folder in it")]


@app.command()
def save(folder: Folder, name: Name, data_dir: DataDir = DEFAULT_DATA_DIR, json: Json = False) -> None:
    """Copy the whole bucket into a folder, while the cluster runs. What earlier copies have is not fetched again."""
    from services.cli.clients.registry import open_store
    from services.shared.bucket_copy import BucketCopies

    store, copies = open_store(data_dir), BucketCopies(folder)
    _run("saved", lambda progress: copies.save(store, name, progress), json=json)


@app.command()
def restore(
    folder: Folder,
    name: Name,
    overwrite: Annotated[bool, typer.Option(help="also if the bucket is not empty; its other objects stay")] = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json: Json = False,
) -> None:
    """Write a copy into the bucket. Stop the gateways before. Every content is compared with its digest."""
    from services.cli.clients.registry import open_store
    from services.shared.bucket_copy import BucketCopies

    store, copies = open_store(data_dir), BucketCopies(folder)

    async def restored(progress: "Progress") -> "Index":
        if not overwrite and not await _is_empty(store):
            raise CommandFailed("the bucket is not empty: --overwrite writes the copy over what is there")
        return await copies.restore(store, name, progress)

    _run("restored", restored, json=json)


@app.command()
def sweep(folder: Folder) -> None:
    """Remove contents that no copy in the folder needs. Remove old copies before; do not call it while one is made."""
    from rich.filesize import decimal

    from services.cli.views.output import out
    from services.shared.bucket_copy import BucketCopies, CopyError

    try:
        out().print(f"{decimal(BucketCopies(folder).sweep())} removed")
    except CopyError as error:
        raise CommandFailed(f"nothing was removed: {error}") from None


async def _is_empty(store: "ObjectStore") -> bool:
    async for _ in store.entries(""):
        return False
    return True


def _run(done: str, work: "Callable[[Progress], Awaitable[Index]]", *, json: bool) -> None:
    from rich.filesize import decimal

    from services.cli.views.output import out, print_json
    from services.shared.bucket_copy import CopyError
    from services.shared.objectstore import StoreError

    moved = 0

    def progress(amount: int) -> None:
        nonlocal moved
        moved += amount

    async def run() -> "Index":
        return await work(progress)

    try:
        index = asyncio.run(run())
    except StoreError as error:
        raise CommandFailed(f"the object store failed: {error}; call again to go on") from None
    except CopyError as error:
        raise CommandFailed(str(error)) from None
    except OSError as error:
        raise CommandFailed(f"{error.filename}: {error.strerror}") from None
    if json:
        print_json({"objects": len(index.objects), "bytes": index.size, "moved": moved})
    else:
        out().print(f"{done} {len(index.objects)} objects, {decimal(index.size)}; {decimal(moved)} were moved")
