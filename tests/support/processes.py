"""Which processes have ended, and which have not."""

import os
from contextlib import suppress

import psutil


def is_gone(process: psutil.Process) -> bool:
    """A process that nobody has reaped (a zombie) counts as gone: in some containers nobody ever does."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # between the two questions
        return True


def living(groups: set[int]) -> list[psutil.Process]:
    """The processes of these process groups that still run."""
    found = []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError):
            if os.getpgid(process.pid) in groups and not is_gone(process):
                found.append(process)
    return found
