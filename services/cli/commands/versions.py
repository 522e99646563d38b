"""`tidegate models show|diff|verify|report`: one version, two of them, whether one is whole, and its report."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.errors import CommandFailed
from services.cli.options import DEFAULT_DATA_DIR, DataDir, Json, Model, Version

if TYPE_CHECKING:
    from services.shared.manifests import Manifest
    from services.shared.objectstore import ObjectStore
    from services.shared.signing import TrustedKeys
    from services.shared.version_changes import Change

OrLatest = Annotated[str, typer.Argument(help="a version, its first characters, or an alias")]


def show(model: Model, version: OrLatest = "latest", data_dir: DataDir = DEFAULT_DATA_DIR, json: Json = False) -> None:
    """Show where a version comes from, what it holds, and who signed it."""
    from services.cli.clients.registry import all_aliases, find_manifest, open_store
    from services.cli.views.models import aliases_of, whole_document, whole_version
    from services.cli.views.output import print_json, print_wide

    store = open_store(data_dir)

    async def read() -> "tuple[Manifest, list[str]]":
        manifest = await find_manifest(store, model, version)
        return manifest, aliases_of(manifest, await all_aliases(store))

    manifest, aliases = asyncio.run(read())
    if json:
        print_json(whole_document(manifest, aliases))
    else:
        print_wide(whole_version(manifest, aliases))


def diff(model: Model, old: Version, new: Version, data_dir: DataDir = DEFAULT_DATA_DIR, json: Json = False) -> None:
    """Show what differs between two versions of a model: facts, settings and files."""
    from services.cli.clients.registry import open_store
    from services.cli.views.models import change_table
    from services.cli.views.output import out, print_json, print_wide

    found = asyncio.run(_changes(open_store(data_dir), model, old, new))
    if json:
        print_json([{"what": change.what, "before": change.before, "after": change.after} for change in found])
    elif found:
        print_wide(change_table(found))
    else:
        out().print("both are the same version")


def verify(
    model: Model, version: OrLatest = "latest", data_dir: DataDir = DEFAULT_DATA_DIR, json: Json = False
) -> None:
    """Read every byte of a version, and compare it with what was signed. Exit status 1: workers would refuse it.

    The keys that may have signed it are those of TIDEGATE_TRUSTED_KEYS; of a local cluster, its own.
    """
    from services.cli.clients.registry import open_store, trusted_keys
    from services.cli.views.output import out, print_json

    manifest, faults = asyncio.run(_faults(open_store(data_dir), trusted_keys(data_dir), model, version))
    name = f"{manifest.model}@{manifest.version}"
    if json:
        print_json({"model": manifest.model, "version": manifest.version, "faults": faults})
    elif not faults:
        out().print(f"{name}: all {len(manifest.files)} files are what {manifest.signer} signed")
    if faults:
        raise CommandFailed("\n".join([f"{name} cannot be loaded:", *faults]))


def report(
    model: Model,
    version: OrLatest = "latest",
    output: Annotated[Path | None, typer.Option(help="file for the page; default: MODEL-VERSION.html here")] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json: Json = False,
) -> None:
    """Fetch the report of the run that made a version: a page for a browser, or its figures with --json."""
    from services.cli.clients.registry import find_manifest, open_store
    from services.cli.views.output import out

    store = open_store(data_dir)

    async def read() -> "tuple[Manifest, bytes]":
        manifest = await find_manifest(store, model, version)
        return manifest, await _report(store, manifest, ".json" if json else ".html")

    manifest, content = asyncio.run(read())
    if json:
        typer.echo(content.decode(), nl=False)
        return
    file = output or Path(f"{manifest.model}-{manifest.version[:12]}.html")
    file.write_bytes(content)
    out().print(str(file), markup=False)


async def _report(store: "ObjectStore", manifest: "Manifest", ending: str) -> bytes:
    """The file of the report with that ending, which is what the manifest says. Raises CommandFailed."""
    import hashlib

    from services.shared.objectstore import StoreError
    from services.shared.registry import object_name

    named = next((file for file in manifest.report if file.name.endswith(ending)), None)
    if named is None:
        raise CommandFailed(f"{manifest.model}@{manifest.version[:12]} has no report: no run of this release made it")
    try:
        content, _ = await store.get(object_name(manifest.model, manifest.version, named.name))
    except StoreError as error:
        raise CommandFailed(f"the object store cannot be read: {error}") from None
    if hashlib.sha256(content).hexdigest() != named.sha256:
        raise CommandFailed(f"{named.name} of {manifest.model}@{manifest.version[:12]} is not what was signed")
    return content


async def _changes(store: "ObjectStore", model: str, old: str, new: str) -> "list[Change]":
    from services.cli.clients.registry import find_manifest
    from services.shared.version_changes import SETTINGS, changes

    first, second = await find_manifest(store, model, old), await find_manifest(store, model, new)
    settings = {}
    for name in SETTINGS:
        digests = [{file.sha256 for file in manifest.files if file.name == name} for manifest in (first, second)]
        if all(digests) and digests[0] != digests[1]:
            settings[name] = (await _read(store, first, name), await _read(store, second, name))
    return changes(first, second, settings)


async def _read(store: "ObjectStore", manifest: "Manifest", name: str) -> dict[str, Any]:
    """The values of a JSON file. Raises CommandFailed."""
    import orjson

    from services.shared.objectstore import StoreError
    from services.shared.registry import object_name

    path = object_name(manifest.model, manifest.version, name)
    try:
        document = orjson.loads((await store.get(path))[0])
    except StoreError as error:
        raise CommandFailed(f"the object store cannot be read: {error}") from None
    except ValueError as error:
        raise CommandFailed(f"{path} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise CommandFailed(f"{path} is not a JSON object")
    return document


async def _faults(
    store: "ObjectStore", trusted: "TrustedKeys", model: str, version: str
) -> "tuple[Manifest, list[str]]":
    from services.cli.clients.registry import find_manifest
    from services.cli.views.import_progress import import_progress
    from services.cli.views.output import err
    from services.shared.objectstore import StoreError
    from services.shared.version_check import faults

    manifest = await find_manifest(store, model, version)
    with import_progress(err()) as watcher:
        watcher.preparing(manifest.model)
        read = watcher.fetching(sum(file.size for file in manifest.files), "verifying")
        try:
            return manifest, await faults(store, manifest, trusted, read)
        except StoreError as error:
            raise CommandFailed(f"the object store failed: {error}") from None
