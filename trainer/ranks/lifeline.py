"""Ends a process when the one that started it is gone, however it went.

Standard input is the lifeline: a pipe of which only the starting process holds the other end. All processes that were
started by way of it inherit it, so all see its end.
"""

import os
import threading


def hold() -> None:
    """Starts to watch. The process ends at once, with status 1, when the lifeline breaks."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # Not through sys.stdin: its lock would be held when this process ends by itself.
    while os.read(0, 1):
        pass
    os._exit(1)
