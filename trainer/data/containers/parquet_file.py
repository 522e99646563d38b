"""Parquet, read a few rows at a time, and only the columns that some form reads."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainer.data.containers.record import Record
from trainer.data.content import Budget
from trainer.data.wrong import WrongData

ROWS_AT_ONCE = 64


def records(file: Path, name: str, budget: Budget, known: frozenset[str] | None) -> Iterator[Record]:
    """Columns that are not `known` are there as None-free marks only: True in each record, so that they are counted.

    `known` is None: all columns are read.

    Raises:
        WrongData: The file is not Parquet, is damaged, or is larger than the budget.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(file) as opened:
            yield from _rows(opened, name, budget, known)
    except OSError as error:
        raise WrongData(f"{name}: the file is not Parquet, or is damaged: {_first_line(error)}") from None
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise WrongData(f"{name}: the file is not Parquet, or is damaged: {_first_line(error)}") from None


def _rows(opened: Any, name: str, budget: Budget, known: frozenset[str] | None) -> Iterator[Record]:
    metadata = opened.metadata
    size = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    Budget(budget.limit).spend(size, name)  # before anything is read; what is read counts below
    columns = opened.schema_arrow.names
    wanted = [column for column in columns if known is None or column in known]
    others = dict.fromkeys((column for column in columns if column not in wanted), True)
    row = 0
    for batch in opened.iter_batches(batch_size=ROWS_AT_ONCE, columns=wanted, use_threads=False):
        budget.spend(batch.nbytes, name)
        for fields in batch.to_pylist():
            row += 1
            yield Record(f"{name}, row {row}", {**fields, **others})


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
