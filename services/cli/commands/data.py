"""`tidegate data`: look at training data."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.errors import WRONG_USE, CommandFailed
from services.cli.options import Json

if TYPE_CHECKING:
    from trainer.data.inspection import Inspection

app = typer.Typer(help="Look at training data.", no_args_is_help=True)

S3 = "s3://"
DEFAULT_MAX_LENGTH = 1024


@app.callback()
def data() -> None:
    """Look at training data."""


@app.command()
def inspect(
    file: Annotated[str, typer.Argument(metavar="FILE", help="a file, a folder, or s3://bucket/prefix")],
    form: Annotated[str | None, typer.Option("--format", help="the form; default: found out")] = None,
    json: Json = False,
) -> None:
    """Show what a recipe would learn from data: form, counts, lengths, and the first samples."""
    from services.cli.views.data import inspection
    from services.cli.views.output import out, print_json

    found = _inspect(file, form)
    print_json(found.document()) if json else out().print(inspection(found))


def _inspect(file: str, form: str | None) -> "Inspection":
    from trainer.data.forms.form import FORMS
    from trainer.data.inspection import Characters, inspect
    from trainer.data.reader import Reader
    from trainer.data.wrong import WrongData

    chosen = next((one for one in FORMS if one == form), None)
    if form is not None and chosen is None:
        raise CommandFailed(f"--format = {form}: the forms are {', '.join(FORMS)}", status=WRONG_USE)
    try:
        with TemporaryDirectory(prefix="tidegate-data-") as scratch:
            place = _place(file, Path(scratch))
            return inspect(Reader(place, chosen), Characters(), DEFAULT_MAX_LENGTH)
    except WrongData as error:
        raise CommandFailed(str(error), status=WRONG_USE) from None


def _place(file: str, scratch: Path) -> Path:
    """Data of a bucket is brought to `scratch`. Raises WrongData."""
    if not file.startswith(S3):
        return Path(file)
    from trainer.remote_data import fetch

    return asyncio.run(fetch(file, scratch))
