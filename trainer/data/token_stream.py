"""The tokens of one source of shards, as one long stream of which a part is read at a time."""

from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.shard_manifest import ShardSource
from trainer.data.shards import Shards, TokenFile

_OPEN_FILES = 64
"""Files that are mapped at the same time: each costs a file descriptor."""

Tokens = NDArray[np.int64]


class TokenStream:
    """The tokens of all files of a source, one file after the other."""

    def __init__(self, shards: Shards, source: ShardSource) -> None:
        self._files = source.files
        self._ends = list(accumulate(file.tokens for file in source.files))
        self._opened = lru_cache(_OPEN_FILES)(lambda place: shards.file(self._files[place]))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def read(self, start: int, count: int) -> Tokens:
        """`count` tokens from `start` on; they lie within the stream.

        Raises:
            WrongData: A file was changed since the folder was opened.
        """
        pieces, end = [], start + count
        while start < end:
            place = bisect_right(self._ends, start)
            stop = min(end, self._ends[place])
            begins = self._ends[place] - self._files[place].tokens
            pieces.append(self._file(place).ids[start - begins : stop - begins])
            start = stop
        return np.concatenate([np.asarray(piece, np.int64) for piece in pieces])

    def _file(self, place: int) -> TokenFile:
        opened: Any = self._opened(place)
        found: TokenFile = opened
        return found
