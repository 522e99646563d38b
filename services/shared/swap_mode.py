"""What a worker that changes its weights does with the requests that run: the three modes, and their names."""

from enum import StrEnum

_PREFIX = "SWAP_MODE_"


class SwapMode(StrEnum):
    """A mode of a swap. Its value is its name in tidegate.yaml and on the command line."""

    FINISH = "finish"
    """They get the time of the hold to finish. The others are continued on any worker, with any version."""
    RECOMPUTE = "recompute"
    """They are continued at once on any worker, with any version."""
    HAND_OVER = "hand_over"
    """They get the time of the hold. The others are continued on a worker of the old version that has a slot; without
    one, on any."""

    @property
    def proto_name(self) -> str:
        """The name of the value in proto messages."""
        return f"{_PREFIX}{self.name}"

    @classmethod
    def of_proto_name(cls, name: str) -> "SwapMode | None":
        """The mode with that name in proto messages; None for SWAP_MODE_UNSPECIFIED."""
        mode = name.removeprefix(_PREFIX).lower()
        return None if mode == "unspecified" else cls(mode)
