"""`tidegate logs`: the last lines of a process's log."""

from typing import Annotated

import typer

from services.cli import data_dir_option
from services.cli.errors import WRONG_USE, CommandFailed


def logs(
    name: Annotated[str, typer.Argument(help="process, as `tidegate status` names it, or supervisor")],
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=1000)] = 40,
    data_dir: data_dir_option.DataDir = data_dir_option.DEFAULT,
) -> None:
    """Show the end of a process's log."""
    from services.local.data_folder import DataFolder
    from services.local.process import tail

    folder = DataFolder.at(data_dir)
    known = sorted(file.stem for file in folder.logs.glob("*.log"))
    if name not in known:
        raise CommandFailed(f"there is no log of {name!r} (there are: {', '.join(known) or 'none'})", status=WRONG_USE)
    typer.echo(tail(folder.log(name), lines))
