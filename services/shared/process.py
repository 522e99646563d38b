"""The main function of every service process: read the settings, configure logging, run."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from services.shared import lifecycle
from services.shared.settings import LogSettings, WrongSettings, read, stop
from services.shared.telemetry import configure_logging

OwnSettings = TypeVar("OwnSettings", bound=LogSettings)


def run(name: str, settings: type[OwnSettings], serve: Callable[[OwnSettings, asyncio.Event], Awaitable[None]]) -> None:
    """Runs a process until `serve` returns. Wrong settings end the process with a message.

    Args:
        name: Name of the process, for its log.
        settings: The model of its settings.
        serve: Gets the settings and an event that is set when the process must stop.
    """
    try:
        given = read(settings)
        configure_logging(name, given.log_level)
        lifecycle.run(lambda stop_event: serve(given, stop_event))
    except WrongSettings as error:
        stop(error)
