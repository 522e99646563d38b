"""The files of a data set: one, or those of a folder in the order of their names."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trainer.data.content import PACKED
from trainer.data.wrong import WrongData

JSON, CSV, TSV, PARQUET, TEXT = (".jsonl", ".ndjson", ".json"), ".csv", ".tsv", ".parquet", ".txt"
ENDINGS = (*JSON, CSV, TSV, PARQUET, TEXT)
MAX_FILES = 10_000


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file, and what messages call it. `ending` is that of the unpacked file, one of ENDINGS."""

    path: Path
    name: str
    ending: str


def is_data(name: str) -> bool:
    """Whether a file of a folder is read, by its name."""
    return not name.startswith(".") and _ending(name) in ENDINGS


def files_of(place: Path) -> tuple[list[DataFile], int]:
    """The files to read, and how many others lie among them.

    Raises:
        WrongData: There is no such file or folder, it holds no data, or more than MAX_FILES files.
    """
    if not place.is_dir():
        if not place.exists():
            raise WrongData(f"{place}: there is no such file or folder")
        return [_file(place, place.name)], 0
    found, others = [], 0
    for count, path in enumerate(_walk(place), start=1):
        if count > MAX_FILES:
            raise WrongData(f"{place}: the folder holds more than {MAX_FILES} files: join some of them")
        if is_data(path.name):
            found.append(_file(path, path.relative_to(place).as_posix()))
        else:
            others += 1
    if not found:
        raise WrongData(f"{place}: the folder holds no file that ends in {_endings()}")
    return sorted(found, key=lambda file: file.name), others


def _walk(place: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(place):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(folder) / name for name in names)


def _file(path: Path, name: str) -> DataFile:
    ending = _ending(path.name)
    if ending not in ENDINGS:
        raise WrongData(f"{name}: the name does not say what the file is: let it end in {_endings()}")
    if ending == PARQUET and path.suffix.lower() in PACKED:
        raise WrongData(f"{name}: Parquet is packed inside already: unpack the file")
    return DataFile(path, name, ending)


def _ending(name: str) -> str:
    path = Path(name.lower())
    return Path(path.stem).suffix if path.suffix in PACKED else path.suffix


def _endings() -> str:
    return f"{', '.join(ENDINGS[:-1])} or {ENDINGS[-1]} (all but .parquet also with {' or '.join(PACKED)})"
