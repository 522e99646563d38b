"""python -m trainer.ranks.agent TASK COUNT [MODULE]: starts the processes that learn a task, by torchrun's own agent.

The agent watches them: when one ends badly, it ends the others, at most SHUTDOWN_S later. The last event says which
one failed first, and why. The processes of one machine find each other by a file, so no port is open for that.
"""

import logging
import os
import signal
import sys
import tempfile
from pathlib import Path

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from trainer.ranks import lifeline
from trainer.ranks.events import MAX_REASON, Failed

RANK = "trainer.ranks.rank"
"""What each process runs."""
SHUTDOWN_S = 10
"""Seconds that a process has to end after SIGTERM, before it gets SIGKILL."""
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
"""Interfaces over which the processes of one machine talk, unless the environment names others."""
STORE = "TIDEGATE_RANKS_STORE"
"""Environment variable: the file by which the processes find each other."""


def main() -> None:
    """Runs until all processes have ended. Exit status 1: they failed, and an event says why."""
    task, count, *others = sys.argv[1:]
    module = others[0] if others else RANK
    lifeline.hold()
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # what it says, the event says
    with tempfile.TemporaryDirectory(prefix="tidegate-ranks-") as scratch:
        for name, value in {**LOOPBACK, STORE: f"{scratch}/store"}.items():
            os.environ.setdefault(name, value)
        try:
            elastic_launch(_config(int(count), Path(scratch)), sys.executable)("-P", "-m", module, task)
        except ChildFailedError as error:
            sys.stdout.write(told(error.failures).model_dump_json() + "\n")
            sys.stdout.flush()
            raise SystemExit(1) from None


def told(failures: dict[int, ProcessFailure]) -> Failed:
    """The failure that the others follow from.

    When a process is killed, the others lose their connection to it and fail too, at about the same time: so a death
    by a signal comes first, then the earliest error. Last comes SIGTERM, by which the agent ends the others.
    """

    def order(entry: tuple[int, ProcessFailure]) -> tuple[bool, bool, int, int]:
        rank, failure = entry
        return failure.exitcode == -signal.SIGTERM, failure.exitcode >= 0, failure.timestamp, rank

    rank, failure = min(failures.items(), key=order)
    message = str(failure.message["message"] if isinstance(failure.message, dict) else failure.message)
    kind, separator, reason = message.partition(": ")
    named = bool(separator) and kind.isidentifier() and failure.exitcode >= 0
    return Failed(
        rank=rank,
        kind=kind if named else None,
        reason=(reason if named else message)[:MAX_REASON],
        signal=failure.signal_name() if failure.exitcode < 0 else None,
        status=failure.exitcode,
    )


def _config(count: int, scratch: Path) -> LaunchConfig:
    return LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id="tidegate",
        rdzv_backend="c10d",
        rdzv_endpoint=str(scratch / "rendezvous"),
        rdzv_configs={"store_type": "file"},
        local_addr="127.0.0.1",
        max_restarts=0,
        shutdown_timeout=SHUTDOWN_S,
    )


if __name__ == "__main__":
    main()
