"""The journal on disk: files of a test's own folder, no database."""

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from services.gateway.ledger.entry import Row
from services.gateway.ledger.write_ahead_log import REQUEST_BYTES, SEGMENT_BYTES, WriteAheadLog, sync, take_over
from tests.unit.gateway.ledger.rows import begun, ended

Make = Callable[[], WriteAheadLog]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    random = Random(1)
    return lambda: WriteAheadLog(tmp_path / "ledger", 64 * 1024 * 1024, random)


def drain(journal: WriteAheadLog) -> list[Row]:
    rows = []
    while batch := journal.unwritten():
        rows += batch.rows
        journal.wrote(batch)
    return rows


def die(journal: WriteAheadLog) -> None:
    """As kill -9: the lock ends with the process, the files stay."""
    journal._lock.release()


def orphaned_rows(root: Path) -> list[Row]:
    """What the next process finds of those that died."""
    rows: list[Row] = []
    while orphaned := take_over(root):
        rows += orphaned.rows()
        orphaned.remove()
        orphaned.release()
    return rows


def test_rows_come_out_once_and_in_order(make: Make) -> None:
    journal = make()
    for number in range(5000):
        journal.accepted(begun(number))
        journal.ended(ended(number))
    assert journal.unwritten_rows == 5000
    assert drain(journal) == [ended(number) for number in range(5000)]
    assert (journal.size, journal.unwritten_rows) == (0, 0)
    assert len(list(journal.folder.iterdir())) == 1


def test_a_file_stays_until_its_requests_have_ended(make: Make) -> None:
    journal = make()
    journal.accepted(begun(0))
    for number in range(1, 1 + SEGMENT_BYTES // 100):
        journal.ended(ended(number))
    drain(journal)
    assert journal.size > SEGMENT_BYTES / 2
    journal.ended(ended(0))
    assert drain(journal) == [ended(0)]
    assert journal.size == 0


def test_what_a_killed_process_leaves_is_found_whole(make: Make, tmp_path: Path) -> None:
    journal, alive = make(), make()
    for number in range(3):
        journal.accepted(begun(number))
    journal.ended(ended(0))
    drain(journal)
    journal.ended(ended(1))
    alive.accepted(begun(7))
    assert orphaned_rows(tmp_path / "ledger") == [], "the files of a process that lives are its own"
    die(journal)
    found = {row.request_id: row for row in orphaned_rows(tmp_path / "ledger")}
    assert found == {row.request_id: row for row in (ended(0), ended(1), begun(2))}
    assert [folder.name for folder in (tmp_path / "ledger").iterdir()] == [alive.folder.name]


def test_a_line_torn_by_a_power_failure_is_left_out(make: Make, tmp_path: Path) -> None:
    journal = make()
    journal.ended(ended(1))
    die(journal)
    (file,) = journal.folder.iterdir()
    file.write_bytes(file.read_bytes() + ended(2).line()[:40])
    assert orphaned_rows(tmp_path / "ledger") == [ended(1)]


def test_room_is_kept_for_the_ends_of_what_runs(tmp_path: Path) -> None:
    journal = WriteAheadLog(tmp_path / "ledger", 3 * REQUEST_BYTES, Random(1))
    number = 0
    while journal.has_room:
        journal.accepted(begun(number))
        number += 1
    for open_one in range(number):
        journal.ended(ended(open_one))
    assert number > 0
    assert journal.size <= 3 * REQUEST_BYTES
    drain(journal)
    assert journal.has_room


def test_close_leaves_nothing_when_all_is_written_and_everything_otherwise(make: Make, tmp_path: Path) -> None:
    settled, open_ = make(), make()
    settled.ended(ended(1))
    drain(settled)
    settled.close()
    open_.ended(ended(2))
    sync(open_.unsynced())
    assert open_.unsynced() == []
    open_.close()
    assert orphaned_rows(tmp_path / "ledger") == [ended(2)]


def test_a_row_reads_back_as_it_was_written() -> None:
    assert Row.of_line(ended(3, ttft_ms=12, outcome="cancelled").line()) == ended(3, ttft_ms=12, outcome="cancelled")
    for line in (b"", b"{}", b"[]", b'{"request_id": 1, "other": 2}'):
        with pytest.raises(ValueError, match=r".*"):
            Row.of_line(line)
