"""The options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from services.shared.swap_mode import SwapMode

DEFAULT_DATA_DIR = Path(".tidegate")

DataDir = Annotated[Path, typer.Option(help="folder of the cluster: keys, logs, models, state")]
Json = Annotated[bool, typer.Option("--json", help="print JSON, for scripts")]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="show again every second, until Ctrl-C")]
Router = Annotated[str | None, typer.Option(help="host:port of a router; default: the local cluster's routers")]
BaseUrl = Annotated[str | None, typer.Option(help="URL of a gateway's REST API; default: the local cluster's")]
AdminKey = Annotated[
    str | None, typer.Option(envvar="TIDEGATE_ADMIN_KEY", help="operator's key; default: the local cluster's")
]
Model = Annotated[str, typer.Argument(help="model in the registry")]
Version = Annotated[str, typer.Argument(help="a version, its first characters, or an alias")]
Reason = Annotated[str, typer.Option(help="why, for the history of rollouts", show_default=False)]
Alias = Annotated[str, typer.Option(help="alias to move")]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="change a key of the recipe: --set steps=50 --set adapter.r=8"),
]
FinishLimit = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="seconds that requests of a worker get that no other one can continue; default: the worker's setting",
    ),
]
Mode = Annotated[
    SwapMode | None,
    typer.Option(
        help="what happens to requests that run when a worker's weights change; default: `weight_updates` of the pool"
    ),
]
