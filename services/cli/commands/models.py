"""`tidegate models`: the registry."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli import data_dir_option
from services.cli.commands import promote, prune
from services.cli.errors import WRONG_USE, CommandFailed

if TYPE_CHECKING:
    from rich.console import Console

    from services.shared.manifests import Manifest
    from services.shared.objectstore import ObjectStore
    from services.shared.registry import Reference
    from trainer.imports import Target
    from trainer.publish import Published
    from trainer.sources.source import Source

app = typer.Typer(help="The model registry: import, list, promote, roll back, prune.", no_args_is_help=True)
app.command()(promote.promote)
app.command()(promote.rollback)
app.command()(prune.prune)


@app.command("import")
def import_(
    source: Annotated[
        str, typer.Argument(help="a folder, a .gguf file, smollm2-135m-instruct (packaged) or simulated[:SEED]")
    ],
    name: Annotated[str | None, typer.Option(help="what to call the model; default: as the source is called")] = None,
    alias: Annotated[str, typer.Option(help="alias to move to this version")] = "latest",
    golden: Annotated[bool, typer.Option(help="run the model here to find prompts that prove a load")] = True,
    data_dir: data_dir_option.DataDir = data_dir_option.DEFAULT,
    json: data_dir_option.Json = False,
) -> None:
    """Convert a model to safetensors where needed, and publish it."""
    from services.cli.registry_access import signing_key
    from services.cli.views.output import err, out, print_json
    from trainer.imports import Target
    from trainer.sources.pick import pick
    from trainer.sources.source import WrongSource

    try:
        picked = pick(source)
    except WrongSource as error:
        raise CommandFailed(str(error), status=WRONG_USE) from None
    reference = _reference(name or picked.name, alias)
    target = Target(_store(data_dir), reference, signing_key(data_dir))
    published = asyncio.run(_import(picked, target, golden, err()))
    manifest = published.manifest
    if json:
        print_json({"model": manifest.model, "version": manifest.version, "alias": alias, "new": published.is_new})
    else:
        what = "published" if published.is_new else "had been published before:"
        out().print(f"{what} {manifest.model}@{manifest.version}\n{reference} now points to it")


@app.command("list")
def list_(data_dir: data_dir_option.DataDir = data_dir_option.DEFAULT, json: data_dir_option.Json = False) -> None:
    """List every version of every model, with the aliases that point to it."""
    from services.cli.views.output import print_json, print_table
    from services.shared.manifests import WrongManifest
    from services.shared.objectstore import StoreError

    try:
        manifests, aliases = asyncio.run(_list(_store(data_dir)))
    except StoreError as error:
        raise CommandFailed(f"the object store cannot be read: {error}") from None
    except WrongManifest as error:
        raise CommandFailed(str(error)) from None
    rows = [(manifest, _pointing(manifest, aliases)) for manifest in manifests]
    if json:
        print_json([_document(manifest, names) for manifest, names in rows])
    else:
        columns = ("model", "version", "aliases", "architecture", "size", "source")
        print_table(columns, [_row(manifest, names) for manifest, names in rows])


async def _import(source: "Source", target: "Target", golden: bool, console: "Console") -> "Published":
    from services.shared.clock import SystemClock
    from services.shared.manifests import WrongManifest
    from services.shared.objectstore import StoreError
    from trainer.checkpoint import WrongCheckpoint
    from trainer.imports import import_model
    from trainer.sources.source import WrongSource

    with ImportProgress(console) as watcher:
        try:
            return await import_model(
                source,
                target,
                watcher,
                golden=golden,
                clock=SystemClock(),
                random=Random(),  # noqa: S311
            )
        except (WrongSource, WrongCheckpoint) as error:
            raise CommandFailed(f"{source.name} was not imported: {error}", status=WRONG_USE) from None
        except (StoreError, WrongManifest) as error:
            raise CommandFailed(f"{source.name} was not published: {error}") from None


class ImportProgress:
    """A spinner while the source is prepared, then a bar for the upload."""

    def __init__(self, console: "Console") -> None:
        from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn

        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), DownloadColumn())
        self._progress = Progress(*columns, TransferSpeedColumn(), console=console)

    def __enter__(self) -> "ImportProgress":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def preparing(self, source: "Source") -> None:
        self._task = self._progress.add_task(f"preparing {source.name}", total=None)

    def uploading(self, total_bytes: int) -> Callable[[int], None]:
        self._progress.update(self._task, description="publishing", total=total_bytes)
        return lambda moved: self._progress.advance(self._task, moved)


def _store(data_dir: Path) -> "ObjectStore":
    from services.cli.registry_access import store_settings
    from services.shared.objectstore import connect

    return connect(store_settings(data_dir))


def _reference(name: str, alias: str) -> "Reference":
    from services.shared.registry import Reference

    try:
        reference = Reference.parse(f"{name}@{alias}")
    except ValueError as error:
        raise CommandFailed(f"--name, --alias: {error}", status=WRONG_USE) from None
    if reference.is_version:
        raise CommandFailed(f"--alias = {alias}: an alias may not look like a version", status=WRONG_USE)
    return reference


async def _list(store: "ObjectStore") -> "tuple[list[Manifest], dict[Reference, str]]":
    from services.shared.registry import Registry

    registry = Registry(store)
    return [manifest async for manifest in registry.versions()], await registry.aliases()


def _pointing(manifest: "Manifest", aliases: "dict[Reference, str]") -> list[str]:
    return sorted(
        reference.which
        for reference, version in aliases.items()
        if reference.model == manifest.model and version == manifest.version
    )


def _document(manifest: "Manifest", aliases: list[str]) -> dict[str, Any]:
    facts = manifest.model_dump(
        mode="json", include={"model", "version", "created", "architecture", "context_tokens", "source"}
    )
    return {**facts, "size": _size(manifest), "aliases": aliases}


def _row(manifest: "Manifest", aliases: list[str]) -> tuple[object, ...]:
    from rich.filesize import decimal

    names = ", ".join(aliases) or "-"
    return (
        manifest.model,
        manifest.version[:12],
        names,
        manifest.architecture,
        decimal(_size(manifest)),
        manifest.source,
    )


def _size(manifest: "Manifest") -> int:
    return sum(file.size for file in manifest.files)
