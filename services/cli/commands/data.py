"""`tidegate data`: look at training data."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.clients.data import S3, local_data
from services.cli.errors import WRONG_USE, CommandFailed
from services.cli.options import DEFAULT_DATA_DIR, DataDir, Json

if TYPE_CHECKING:
    from trainer.data.forms.form import Form
    from trainer.data.inspection import Inspection, Measure

app = typer.Typer(help="Look at training data.", no_args_is_help=True)


@app.callback()
def data() -> None:
    """Look at training data."""


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
    from services.cli.clients.registry import find_manifest, model_reference, open_store, trusted_keys
    from services.shared.objectstore import StoreError
    from services.shared.staging import RefusedModel
    from trainer.token_lengths import tokenizer_of_version

    reference = model_reference(model, option="--tokenizer, which is no folder")
    store = open_store(data_dir)
    manifest = await find_manifest(store, reference.model, reference.which)
    try:
        return await tokenizer_of_version(store, manifest, trusted_keys(data_dir))
    except RefusedModel as error:
        raise CommandFailed(str(error)) from None
    except StoreError as error:
        raise CommandFailed(f"the object store cannot be read: {error}") from None
