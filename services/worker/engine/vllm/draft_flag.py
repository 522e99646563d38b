"""Whether vLLM drafts: a byte that this process writes and vLLM's scheduler reads before each step.

The scheduler runs in vLLM's engine process, which has no call for this. A byte in a file that both map costs neither of
them a message.
"""

import mmap
import os
import tempfile
from pathlib import Path

VARIABLE = "TIDEGATE_DRAFT_FLAG"
"""Environment variable with the path of the file, for vLLM's process."""
_OFF, _ON = 0, 1


class DraftFlag:
    """The byte. It is on at first."""

    def __init__(self, path: Path) -> None:
        """Opens the file."""
        self.path = path
        with path.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), 1)

    @classmethod
    def make(cls) -> "DraftFlag":
        """Makes the file, which only this user can read, and names it to vLLM's process."""
        descriptor, name = tempfile.mkstemp(prefix="tidegate-draft-")
        with os.fdopen(descriptor, "wb") as made:
            made.write(bytes([_ON]))
        os.environ[VARIABLE] = name
        return cls(Path(name))

    @property
    def on(self) -> bool:
        """Whether to draft."""
        return self._memory[0] == _ON

    def set(self, *, on: bool) -> None:
        """Takes effect in the next step that vLLM plans."""
        self._memory[0] = _ON if on else _OFF

    def close(self) -> None:
        """Removes the file. vLLM's process may still have it open."""
        self._memory.close()
        self.path.unlink(missing_ok=True)
