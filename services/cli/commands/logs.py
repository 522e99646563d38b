"""`tidegate logs`: the last lines of a process's log."""

from typing import Annotated

import typer

from services.cli.errors import WRONG_USE, CommandFailed
from services.cli.options import DEFAULT_DATA_DIR, DataDir


def logs(
    name: Annotated[str, typer.Argument(help="name of a process in `tidegate status`, or supervisor")],
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=1000, help="number of lines")] = 40,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Show the end of a process's log."""
    from services.local.data_folder import DataFolder
    from services.local.process import tail

    folder = DataFolder.at(data_dir)
    known = sorted(file.stem for file in folder.logs.glob("*.log"))
    if name not in known:
        raise CommandFailed(f"there is no log of {name!r} (there are: {', '.join(known) or 'none'})", status=WRONG_USE)
    typer.echo(tail(folder.log(name), lines))
