"""The input of a batch, in a file of this gateway's: its lines are found once, and read when their turn comes.

Read all at once, they could take twenty times the memory that the file takes on disk.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.gateway.batches.batch import Endpoint, Problem
from services.gateway.batches.lines import Line, body_of, read_lines


@dataclass(frozen=True, slots=True)
class Input:
    """With `problems` there are no lines to work on."""

    path: Path
    lines: list[Line]
    problems: list[Problem]

    @classmethod
    async def fetch(cls, pieces: AsyncIterator[bytes], path: Path, endpoint: Endpoint) -> "Input":
        """Raises OSError, and what reading the pieces raises."""
        with path.open("wb") as file:
            async for piece in pieces:
                await asyncio.to_thread(file.write, piece)
        return cls(path, *await asyncio.to_thread(_read, path, endpoint))

    def body(self, line: Line) -> dict[str, Any]:
        """Raises OSError."""
        with self.path.open("rb") as file:
            file.seek(line.at)
            return body_of(file.read(line.size))


def _read(path: Path, endpoint: Endpoint) -> tuple[list[Line], list[Problem]]:
    with path.open("rb") as file:
        return read_lines(file, endpoint)
