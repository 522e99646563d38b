"""The records of a data file, whatever its container."""

from collections.abc import Iterator

from trainer.data.containers import csv_file, json_file, parquet_file, text_file
from trainer.data.containers.record import Fault, Record
from trainer.data.content import Budget, opened
from trainer.data.folder import CSV, PARQUET, TEXT, TSV, DataFile


def records(file: DataFile, budget: Budget, known: frozenset[str] | None) -> Iterator[Record | Fault]:
    """One after another.

    Args:
        file: What is read.
        budget: Bytes that may be read.
        known: Columns of Parquet that are read; None: all of them.

    Raises:
        WrongData: The file cannot be read.
    """
    if file.ending == PARQUET:
        yield from parquet_file.records(file.path, file.name, budget, known)
        return
    with opened(file.path, file.name, budget) as reader:
        if file.ending in (CSV, TSV):
            yield from csv_file.records(reader, file.name, "\t" if file.ending == TSV else ",")
        elif file.ending == TEXT:
            yield from text_file.records(reader, file.name)
        else:
            yield from json_file.records(reader, file.name)
