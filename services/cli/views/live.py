"""Shows something again every second, until Ctrl-C."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from services.cli.errors import CommandFailed

if TYPE_CHECKING:
    from rich.console import RenderableType

EVERY_S = 1.0

State = TypeVar("State")


def watch(poll: Callable[[], Awaitable[State]], render: "Callable[[State], RenderableType]") -> None:
    """Polls a state and shows it, every second. An error while polling is shown too, and polling continues.

    A terminal gets one picture that changes; elsewhere the pictures come one after the other.

    Args:
        poll: Returns the present state.
        render: Turns the state into what is shown.
    """
    with suppress(KeyboardInterrupt):
        asyncio.run(_watch(poll, render))


async def _watch(poll: Callable[[], Awaitable[State]], render: "Callable[[State], RenderableType]") -> None:
    from rich.live import Live

    from services.cli.views.output import out

    console = out()
    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
        while True:
            try:
                picture = render(await poll())
            except CommandFailed as error:
                picture = str(error)
            live.update(picture, refresh=True)
            if not console.is_terminal:
                console.print(picture)
            await asyncio.sleep(EVERY_S)
