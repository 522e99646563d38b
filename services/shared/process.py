"""A process from its settings to its end, for every `python -m`."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from services.shared import lifecycle
from services.shared.settings import LogSettings, WrongSettings, read, stop
from services.shared.telemetry import configure_logging

Told = TypeVar("Told", bound=LogSettings)


def run(name: str, settings: type[Told], serve: Callable[[Told, asyncio.Event], Awaitable[None]]) -> None:
    """Until `serve(settings, told to stop)` returns. Settings that prove wrong end the process, saying which."""
    try:
        given = read(settings)
        configure_logging(name, given.log_level)
        lifecycle.run(lambda told: serve(given, told))
    except WrongSettings as error:
        stop(error)
