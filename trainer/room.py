"""Whether an error came from a full disk. Libraries say that in words of their own, or not at all."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer.errors import NoRoom

LEAST_FREE_BYTES = 1 << 20
"""With less than this a disk is full: nothing that a run saves is smaller."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def room_in(folder: Path) -> Iterator[None]:
    """Gives errors of the block that come from a full disk their name.

    Args:
        folder: That the block writes to.

    Raises:
        NoRoom: The disk is full.
    """
    try:
        yield
    except Exception as error:
        full = isinstance(error, OSError) and error.errno in _FULL
        if full or shutil.disk_usage(folder).free < LEAST_FREE_BYTES:
            raise NoRoom(
                f"the disk of {folder} is full: make room and call again. The run goes on from its last whole"
                " checkpoint"
            ) from error
        raise
