"""Whether a process has ended, and which ones have not."""

import os
from contextlib import suppress

import psutil


def is_gone(process: psutil.Process) -> bool:
    """True for one that nobody has reaped yet, too: in a container nobody may."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # between the two questions
        return True


def living(groups: set[int]) -> list[psutil.Process]:
    """What still runs of these process groups."""
    found = []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError):
            if os.getpgid(process.pid) in groups and not is_gone(process):
                found.append(process)
    return found
