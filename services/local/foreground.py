"""A supervisor inside the process of the command itself. It runs until Ctrl-C."""

import asyncio
import logging
import os

from services.local import cluster
from services.local.data_folder import DataFolder
from services.local.errors import WRONG_CONFIGURATION, ClusterError
from services.local.events import Event, Report
from services.local.options import UpOptions
from services.shared import lifecycle
from services.shared.settings import WrongSettings
from services.shared.telemetry import configure_logging


def supervise(options: UpOptions, report: Report) -> None:
    """Runs a cluster until SIGINT or SIGTERM.

    Raises:
        ClusterError: The cluster cannot start.
    """
    # gRPC is only a client here. Its fork handlers would disturb the start of other processes.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

    async def main(stop: asyncio.Event) -> None:
        try:
            await cluster.run(options, report, stop)
        except WrongSettings as error:
            raise ClusterError(f"wrong configuration:\n{error}", status=WRONG_CONFIGURATION) from None

    lifecycle.run(main)


def log_to_folder(folder: DataFolder) -> None:
    """Sends the log of this process to the folder with the logs of the cluster.

    Raises:
        WrongSettings: The data folder holds files that do not belong to a cluster.
    """
    folder.prepare()
    configure_logging("supervisor")
    handler = logging.FileHandler(folder.log("supervisor"))
    handler.setFormatter(logging.getLogger().handlers[0].formatter)
    logging.getLogger().handlers = [handler]


def failure(error: ClusterError) -> Event:
    """The event that reports `error`."""
    return Event(kind="failed", detail=str(error), status=error.status)
