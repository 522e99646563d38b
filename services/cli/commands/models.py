"""`tidegate models`: the model registry."""

import asyncio
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from services.cli.commands import gc, promote, sign, stage, versions
from services.cli.errors import WRONG_USE, CommandFailed
from services.cli.options import DEFAULT_DATA_DIR, DataDir, Json

if TYPE_CHECKING:
    from rich.console import Console

    from services.shared.manifests import DraftMethod, Manifest
    from services.shared.objectstore import ObjectStore
    from services.shared.registry import Reference
    from trainer.adapter_imports import AdapterFolder
    from trainer.drafting import Drafting
    from trainer.imports import Target
    from trainer.publish import Published
    from trainer.sources.remote_gguf import RemoteGguf
    from trainer.sources.source import RemoteSource, Source

app = typer.Typer(
    help="The model registry: import, list, show, compare, verify, sign, stage, promote, roll back, gc.",
    no_args_is_help=True,
)
app.command()(versions.show)
app.command()(versions.diff)
app.command()(versions.verify)
app.command()(versions.report)
app.command()(stage.stage)
app.command()(promote.promote)
app.command()(promote.rollback)
app.command()(sign.sign)
app.command()(gc.gc)


@app.command("import")
def import_(
    source: Annotated[
        str,
        typer.Argument(
            help="hf://organisation/name[@revision], hf://organisation/name/file.gguf, "
            "hf://organisation/name:QUANTIZATION (of a GGUF file), s3://bucket/prefix, a folder, a .gguf file, "
            "smollm2-135m-instruct (packaged) or simulated[:SEED]"
        ),
    ],
    name: Annotated[str | None, typer.Option(help="name of the model; default: the name of the source")] = None,
    alias: Annotated[
        str, typer.Option(help="alias that will point to this version; the first version of a model gets latest too")
    ] = "candidate",
    golden: Annotated[
        bool | None,
        typer.Option(
            "--golden/--no-golden",
            help="load the model here to find golden prompts, which prove later that weights were loaded right; this "
            "takes 4 bytes of memory for each weight, and the model's size on disk if it comes from a hub or bucket. "
            "Default: only for files on this machine",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json: Json = False,
) -> None:
    """Publish a model; it is converted to safetensors if needed.

    A model of a hub or bucket is streamed to the registry, without a copy on this disk. Only GGUF files are brought
    here, to be converted. An import that was stopped goes on where it was: files that are in the registry's bucket are
    not sent again. The hub's token is that of HF_TOKEN or HF_TOKEN_PATH, its server that of HF_ENDPOINT. s3:// uses the
    AWS_* variables.
    """
    from services.cli.clients.registry import alias_reference, open_store, publisher, signing_key
    from services.cli.views.output import err, out, print_json
    from services.shared.registry import DEFAULT_ALIAS
    from trainer.imports import Target
    from trainer.sources.pick import pick
    from trainer.sources.source import WrongSource

    try:
        picked = pick(source)
    except WrongSource as error:
        raise CommandFailed(str(error), status=WRONG_USE) from None
    reference = alias_reference(name or picked.name, alias, options="--name, --alias")
    target = Target(open_store(data_dir), reference, signing_key(data_dir), publisher())
    published = asyncio.run(_import(picked, target, golden, err()))
    manifest = published.manifest
    if json:
        document = {"model": manifest.model, "version": manifest.version, "alias": alias}
        print_json(document | {"aliases": list(published.aliases), "new": published.is_new})
    else:
        what = "published" if published.is_new else "had been published before:"
        lines = [f"{what} {manifest.model}@{manifest.version}"]
        lines += [f"{manifest.model}@{which} points to it" for which in published.aliases]
        if DEFAULT_ALIAS not in published.aliases:
            lines.append(f"Bring workers there: tidegate models promote {manifest.model} {manifest.version[:12]}")
        out().print("\n".join(lines))


@app.command("import-adapter")
def import_adapter(
    folder: Annotated[Path, typer.Argument(help="a folder with adapter_config.json and adapter_model.safetensors")],
    base: Annotated[
        str, typer.Option(help="the model in the registry that it was trained on: model, model@alias or model@version")
    ],
    name: Annotated[str | None, typer.Option(help="name of the adapter; default: the name of the folder")] = None,
    alias: Annotated[str, typer.Option(help="alias that will point to this version")] = "latest",
    golden: Annotated[
        bool,
        typer.Option(
            help="run base and adapter here to find golden prompts, which prove later that the adapter was loaded right"
        ),
    ] = True,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json: Json = False,
) -> None:
    """Publish a LoRA adapter for one version of a model."""
    from services.cli.clients.registry import alias_reference, model_reference, open_store, publisher, signing_key
    from services.cli.views.output import err, out, print_json
    from trainer.adapter_imports import AdapterFolder
    from trainer.imports import Target
    from trainer.sources.source import WrongSource

    try:
        source = AdapterFolder(folder)
    except WrongSource as error:
        raise CommandFailed(str(error), status=WRONG_USE) from None
    reference = alias_reference(name or source.name, alias, options="--name, --alias")
    target = Target(open_store(data_dir), reference, signing_key(data_dir), publisher())
    on = model_reference(base, option="--base")
    published = asyncio.run(_import_adapter(source, on, target, golden, err()))
    manifest = published.manifest
    if json:
        document = {"model": manifest.model, "version": manifest.version, "alias": alias, "base": manifest.base}
        print_json(document | {"new": published.is_new})
    else:
        what = "published" if published.is_new else "had been published before:"
        out().print(f"{what} {manifest.model}@{manifest.version}\nfor {manifest.base}\n{reference} now points to it")


@app.command("import-speculator")
def import_speculator(
    source: Annotated[str, typer.Argument(help="what `models import` takes: a folder, hf://, s3://, a .gguf file")],
    target: Annotated[
        str, typer.Option(help="the model in the registry that it drafts for: model, model@alias or model@version")
    ],
    method: Annotated[
        Literal["draft_model", "eagle", "eagle3", "medusa", "dflash", "dspark", "mtp"],
        typer.Option(help="how it drafts: a smaller model, or the kind of head that was trained"),
    ] = "draft_model",
    tokens: Annotated[int, typer.Option(min=1, max=16, help="draft tokens in each engine step")] = 3,
    name: Annotated[str | None, typer.Option(help="name of the speculator; default: the name of the source")] = None,
    alias: Annotated[
        str, typer.Option(help="alias that will point to this version; the first version gets latest too")
    ] = "candidate",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json: Json = False,
) -> None:
    """Publish a draft model or head for speculative decoding. `engine.speculation.model` of a pool names it.

    It must have the vocabulary of its target, and a head its width; golden prompts are those of the target.
    """
    from services.cli.clients.registry import alias_reference, model_reference, open_store, publisher, signing_key
    from services.cli.views.output import err, out, print_json
    from trainer.imports import Target
    from trainer.sources.pick import pick
    from trainer.sources.source import WrongSource

    try:
        picked = pick(source)
    except WrongSource as error:
        raise CommandFailed(str(error), status=WRONG_USE) from None
    reference = alias_reference(name or picked.name, alias, options="--name, --alias")
    to = Target(open_store(data_dir), reference, signing_key(data_dir), publisher())
    drafts_for = model_reference(target, option="--target")
    published = asyncio.run(_import_speculator(picked, to, drafts_for, method, tokens, err()))
    manifest, speculates = published.manifest, published.manifest.speculates
    if json:
        document = {"model": manifest.model, "version": manifest.version, "alias": alias, "new": published.is_new}
        print_json(
            document | {"aliases": list(published.aliases), "speculates": speculates and speculates.model_dump()}
        )
    else:
        what = "published" if published.is_new else "had been published before:"
        lines = [f"{what} {manifest.model}@{manifest.version}", f"for {speculates.target if speculates else ''}"]
        lines += [f"{manifest.model}@{which} points to it" for which in published.aliases]
        out().print("\n".join(lines))


@app.command("list")
def list_(data_dir: DataDir = DEFAULT_DATA_DIR, json: Json = False) -> None:
    """List every version of every model, with the aliases that point to it."""
    from services.cli.clients.registry import open_store
    from services.cli.views.models import aliases_of, version_document, version_table
    from services.cli.views.output import print_json, print_wide
    from services.shared.manifests import WrongManifest
    from services.shared.objectstore import StoreError

    try:
        manifests, aliases = asyncio.run(_list(open_store(data_dir)))
    except StoreError as error:
        raise CommandFailed(f"the object store cannot be read: {error}") from None
    except WrongManifest as error:
        raise CommandFailed(str(error)) from None
    versions = [(manifest, aliases_of(manifest, aliases)) for manifest in manifests]
    if json:
        print_json([version_document(manifest, names) for manifest, names in versions])
    else:
        print_wide(version_table(versions))


async def _import_speculator(
    source: "Source | RemoteSource | RemoteGguf",
    target: "Target",
    drafts_for: "Reference",
    method: "DraftMethod",
    tokens: int,
    console: "Console",
) -> "Published":
    from services.shared.objectstore import StoreError
    from services.shared.registry import UnknownVersion
    from trainer.drafting import Drafting
    from trainer.errors import WrongCheckpoint

    try:
        drafting = await Drafting.of(target.store, drafts_for, method, tokens)
    except (UnknownVersion, WrongCheckpoint) as error:
        raise CommandFailed(f"--target: {error}", status=WRONG_USE) from None
    except StoreError as error:
        raise CommandFailed(f"the object store cannot be read: {error}") from None
    return await _import(source, target, False, console, drafting)


async def _import(
    source: "Source | RemoteSource | RemoteGguf",
    target: "Target",
    golden: bool | None,
    console: "Console",
    drafting: "Drafting | None" = None,
) -> "Published":
    from services.cli.views.import_progress import import_progress
    from services.shared.clock import SystemClock
    from services.shared.manifests import WrongManifest
    from services.shared.objectstore import StoreError
    from trainer.errors import WrongCheckpoint
    from trainer.imports import Import
    from trainer.publish import Changed, MovesByRollout
    from trainer.sources.source import WrongSource

    with import_progress(console) as watcher:
        random = Random()  # noqa: S311
        work = Import(target, watcher, golden=golden, clock=SystemClock(), random=random, drafting=drafting)
        try:
            return await work.run(source)
        except (WrongSource, WrongCheckpoint) as error:
            raise CommandFailed(f"{source.name} was not imported: {error}", status=WRONG_USE) from None
        except MovesByRollout as error:
            raise CommandFailed(str(error)) from None
        except (StoreError, WrongManifest, Changed) as error:
            raise CommandFailed(f"{source.name} was not published: {error}") from None
        except OSError as error:
            raise CommandFailed(f"{source.name} was not imported: {error}. See TMPDIR for the disk it uses") from None


async def _import_adapter(
    source: "AdapterFolder", base: "Reference", target: "Target", golden: bool, console: "Console"
) -> "Published":
    from services.cli.views.import_progress import import_progress
    from services.shared.clock import SystemClock
    from services.shared.manifests import WrongManifest
    from services.shared.objectstore import StoreError
    from services.shared.registry import UnknownVersion
    from trainer.adapter_imports import import_adapter
    from trainer.errors import WrongCheckpoint

    with import_progress(console) as watcher:
        try:
            return await import_adapter(
                source,
                base,
                target,
                watcher,
                golden=golden,
                clock=SystemClock(),
                random=Random(),  # noqa: S311
            )
        except WrongCheckpoint as error:
            raise CommandFailed(f"{source.name} was not imported: {error}", status=WRONG_USE) from None
        except UnknownVersion as error:
            raise CommandFailed(f"--base: {error}", status=WRONG_USE) from None
        except (StoreError, WrongManifest) as error:
            raise CommandFailed(f"{source.name} was not published: {error}") from None


async def _list(store: "ObjectStore") -> "tuple[list[Manifest], dict[Reference, str]]":
    from services.shared.registry import Registry

    registry = Registry(store)
    return [manifest async for manifest in registry.versions()], await registry.aliases()
