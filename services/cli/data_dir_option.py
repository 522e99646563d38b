"""The --data-dir option that commands share."""

from pathlib import Path
from typing import Annotated

import typer

DataDir = Annotated[Path, typer.Option(help="folder of the cluster: keys, logs, models, state")]
DEFAULT = Path(".tidegate")
Json = Annotated[bool, typer.Option("--json", help="for machines")]
