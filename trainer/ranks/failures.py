"""Why processes that learn together ended without a result."""

from trainer.checksums import BrokenSeal
from trainer.data.wrong import WrongData
from trainer.errors import NoRoom, Unfit
from trainer.loss_curve import Diverged
from trainer.ranks.events import Failed

KINDS = (Unfit, WrongData, BrokenSeal, Diverged, NoRoom)
"""Errors that mean the same on any number of processes."""


class RankDied(Exception):
    """One of the processes that learn together ended, and so did the others; the message says which and why."""


def raised(failed: Failed, count: int) -> Exception:
    """The error that the processes ended with.

    Args:
        failed: What they told.
        count: How many they were.
    """
    for kind in KINDS:
        if failed.kind == kind.__name__:
            return kind(failed.reason)
    if failed.signal:
        memory = " (the kernel does that when memory runs out)" if failed.signal == "SIGKILL" else ""
        why = f"was ended by {failed.signal}{memory}"
    elif failed.kind:
        why = f"failed: {failed.kind}: {failed.reason}"
    else:
        why = f"ended with status {failed.status}; see the log"
    return RankDied(
        f"process {failed.rank} of {count} (rank {failed.rank}) {why}. The others were ended. Call again to go on from"
        " the last checkpoint"
    )
