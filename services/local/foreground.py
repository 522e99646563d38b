"""A supervisor in the terminal's own process: runs until Ctrl-C."""

import asyncio
import logging
import os

from services.cli.errors import WRONG_USE, CommandFailed
from services.local import cluster
from services.local.data_folder import DataFolder
from services.local.events import Event, Report
from services.local.options import UpOptions
from services.shared import lifecycle
from services.shared.settings import WrongSettings
from services.shared.telemetry import configure_logging


def supervise(options: UpOptions, report: Report) -> None:
    """Until SIGINT or SIGTERM. Raises CommandFailed when the cluster cannot start."""
    # gRPC is only a client here; its fork handlers would get between us and the processes that we start.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

    async def main(stop: asyncio.Event) -> None:
        try:
            await cluster.run(options, report, stop)
        except WrongSettings as error:
            raise CommandFailed(f"wrong configuration:\n{error}", status=WRONG_USE) from None

    lifecycle.run(main)


def log_to_folder(folder: DataFolder) -> None:
    """The supervisor's own log stands beside those of its processes. Raises WrongSettings."""
    folder.prepare()
    configure_logging("supervisor")
    handler = logging.FileHandler(folder.log("supervisor"))
    handler.setFormatter(logging.getLogger().handlers[0].formatter)
    logging.getLogger().handlers = [handler]


def failure(error: CommandFailed) -> Event:
    return Event(kind="failed", detail=str(error), status=error.status)
