"""Whether a process has ended."""

import psutil


def is_gone(process: psutil.Process) -> bool:
    """True for one that nobody has reaped yet, too: in a container nobody may."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # between the two questions
        return True
