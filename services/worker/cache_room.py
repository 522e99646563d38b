"""Which folders of the model cache must go so that a version fits. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Inode = tuple[int, int]
"""A file on a disk: device and number. Versions that share a file have the same one."""


@dataclass(frozen=True, slots=True)
class Held:
    """A folder of the cache.

    Attributes:
        name: The folder.
        files: Bytes on disk of each of its files.
        may_go: Nobody uses it.
        rank: Of folders that may go, the one with the lowest rank goes first.
    """

    name: str
    files: Mapping[Inode, int] = field(default_factory=dict)
    may_go: bool = False
    rank: tuple[int, float] = (0, 0.0)


class NoRoom(OSError):
    """A version does not fit on the disk, whatever is removed. The message names the sizes."""


@dataclass(frozen=True, slots=True)
class Room:
    """What the disk allows, in bytes.

    Attributes:
        free: Free on the disk.
        limit: What all folders together may take; None: as much as the disk has.
    """

    free: int
    limit: int | None = None


def to_remove(folders: Iterable[Held], needed: int, room: Room) -> list[str]:
    """The folders that must go so that `needed` bytes fit, in the order of their ranks.

    Raises:
        NoRoom: They do not fit, not even if every folder goes that may go.
    """
    stay = sorted(folders, key=lambda folder: folder.rank)
    used = _size(stay)
    gone: list[str] = []
    while (short := _short(needed, used, _size(stay), room)) > 0:
        if (folder := next((folder for folder in stay if folder.may_go), None)) is None:
            raise NoRoom(
                f"{_mib(needed)} MiB are still to be fetched, {_mib(short)} MiB more than there is room for: "
                f"{_mib(room.free)} MiB of the disk are free, the cache holds {_mib(used)} MiB, of which "
                f"{_mib(used - _size(stay))} MiB could go, and may hold "
                + ("what the disk has" if room.limit is None else f"{_mib(room.limit)} MiB (TIDEGATE_CACHE_GIB)")
            )
        gone.append(folder.name)
        stay.remove(folder)
    return gone


def _short(needed: int, used: int, left: int, room: Room) -> int:
    """Bytes too few, when of `used` only `left` are left in the cache."""
    short = needed - (room.free + used - left)
    return short if room.limit is None else max(short, left + needed - room.limit)


def _size(folders: Iterable[Held]) -> int:
    """A file that several folders share counts once."""
    files: dict[Inode, int] = {}
    for folder in folders:
        files |= folder.files
    return sum(files.values())


def _mib(count: int) -> int:
    return -(-count // (1 << 20))
