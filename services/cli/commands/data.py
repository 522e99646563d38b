"""`tidegate data`: look at training data, and prepare text to pretrain on."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from services.cli.clients.data import S3, local_data, prepared
from services.cli.errors import WRONG_USE, CommandFailed
from services.cli.options import DEFAULT_DATA_DIR, Changes, DataDir, Json

if TYPE_CHECKING:
    from services.shared.manifests import Manifest
    from services.shared.objectstore import ObjectStore
    from services.shared.signing import TrustedKeys
    from trainer.data.forms.form import Form
    from trainer.data.inspection import Inspection, Measure

T = TypeVar("T")

app = typer.Typer(help="Training data: look at it, prepare it.", no_args_is_help=True)


@app.callback()
def data() -> None:
    """Training data: look at it, prepare it."""


@app.command()
def inspect(
    file: Annotated[str, typer.Argument(metavar="FILE", help="a file, a folder, or s3://bucket/prefix")],
    tokenizer: Annotated[
        str | None,
        typer.Option(help="a folder with a tokenizer, or a model in the registry; default: lengths in characters"),
    ] = None,
    max_length: Annotated[int, typer.Option(min=8, help="tokens of an example, as in a recipe")] = 1024,
    form: Annotated[str | None, typer.Option("--format", help="the form of the data; default: found out")] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json: Json = False,
) -> None:
    """Show what a recipe would learn from data: form, counts, lengths, and the first samples."""
    from services.cli.views.data import inspection
    from services.cli.views.output import out, print_json
    from trainer.data.wrong import WrongData

    chosen = _form(form)
    try:
        measure = _measure(tokenizer, max_length, data_dir)
        found = _inspect(file, chosen, measure, max_length)
    except WrongData as error:
        raise CommandFailed(str(error), status=WRONG_USE) from None
    print_json(found.document()) if json else out().print(inspection(found))


@app.command()
def init() -> None:
    """Write a prepare recipe to start from, with every key explained."""
    from trainer.preparing.starter import starter

    typer.echo(starter(), nl=False)


@app.command()
def prepare(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="YAML file; `tidegate data init` writes one")],
    changes: Changes = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json: Json = False,
) -> None:
    """Make shards of token ids of raw text: filter, drop duplicates, make a tokenizer, tokenize.

    If it was stopped, call it again: it goes on behind the last task that was finished.
    """
    from services.cli.views.output import err, out, print_json
    from services.cli.views.preparation import preparation
    from services.shared.settings import WrongSettings
    from trainer.data.wrong import WrongData
    from trainer.preparing.recipe_file import load

    async def fetch_tokenizer(model: str, folder: Path) -> None:
        await _fetch_tokenizer(model, data_dir, folder)

    try:
        loaded = load(recipe, tuple(changes or ()))
        report = prepared(loaded, fetch_tokenizer, lambda stage: err().print(stage, markup=False))
    except (WrongData, WrongSettings) as error:
        raise CommandFailed(str(error), status=WRONG_USE) from None
    print_json(report.model_dump(mode="json")) if json else out().print(preparation(report, str(loaded.output)))


def _inspect(file: str, form: "Form | None", measure: "Measure", max_length: int) -> "Inspection":
    from trainer.data.inspection import inspect
    from trainer.data.reader import Reader

    with TemporaryDirectory(prefix="tidegate-data-") as scratch:
        place = local_data(file if file.startswith(S3) else Path(file), Path(scratch))
        return inspect(Reader(place, form), measure, max_length)


def _form(name: str | None) -> "Form | None":
    from trainer.data.forms.form import FORMS

    if name is None:
        return None
    for form in FORMS:
        if form == name:
            return form
    raise CommandFailed(f"--format = {name}: the forms are {', '.join(FORMS)}", status=WRONG_USE)


def _measure(tokenizer: str | None, max_length: int, data_dir: Path) -> "Measure":
    if tokenizer is None:
        from trainer.data.inspection import Characters

        return Characters()
    from trainer.token_lengths import Tokens, tokenizer_of_folder

    folder = Path(tokenizer)
    found = tokenizer_of_folder(folder) if folder.is_dir() else asyncio.run(_of_registry(tokenizer, data_dir))
    return Tokens(found, max_length)


async def _of_registry(model: str, data_dir: Path) -> Any:
    from trainer.token_lengths import tokenizer_of_version

    return await _with_version(model, data_dir, tokenizer_of_version, "--tokenizer, which is no folder")


async def _fetch_tokenizer(model: str, data_dir: Path, folder: Path) -> None:
    from trainer.token_lengths import fetch_tokenizer

    async def fetch(store: "ObjectStore", manifest: "Manifest", trusted: "TrustedKeys") -> None:
        await fetch_tokenizer(store, manifest, trusted, folder)

    await _with_version(model, data_dir, fetch, "tokenizer, which is no folder")


async def _with_version(
    model: str,
    data_dir: Path,
    use: "Callable[[ObjectStore, Manifest, TrustedKeys], Awaitable[T]]",
    named: str,
) -> T:
    """What `use` makes of a version in the registry. Raises CommandFailed."""
    from services.cli.clients.registry import find_manifest, model_reference, open_store, trusted_keys
    from services.shared.objectstore import StoreError
    from services.shared.staging import RefusedModel

    reference = model_reference(model, option=named)
    store = open_store(data_dir)
    manifest = await find_manifest(store, reference.model, reference.which)
    try:
        return await use(store, manifest, trusted_keys(data_dir))
    except RefusedModel as error:
        raise CommandFailed(str(error)) from None
    except StoreError as error:
        raise CommandFailed(f"the object store cannot be read: {error}") from None
