"""Looking at something again and again, until Ctrl-C."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from services.cli.errors import CommandFailed

if TYPE_CHECKING:
    from rich.console import RenderableType

EVERY_S = 1.0
Watch = Annotated[bool, typer.Option("--watch", "-w", help="look again every second, until Ctrl-C")]

Seen = TypeVar("Seen")


def watch(look: Callable[[], Awaitable[Seen]], show: "Callable[[Seen], RenderableType]") -> None:
    """On a terminal one picture that changes, elsewhere one after the other. Routers may be away meanwhile."""
    with suppress(KeyboardInterrupt):
        asyncio.run(_watch(look, show))


async def _watch(look: Callable[[], Awaitable[Seen]], show: "Callable[[Seen], RenderableType]") -> None:
    from rich.live import Live

    from services.cli.views.output import out

    console = out()
    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
        while True:
            try:
                picture = show(await look())
            except CommandFailed as error:
                picture = str(error)
            live.update(picture, refresh=True)
            if not console.is_terminal:
                console.print(picture)
            await asyncio.sleep(EVERY_S)
