"""The write-ahead log on disk, in a folder of each test, without a database."""

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


def drain(log: WriteAheadLog) -> list[Row]:
    rows = []
    while batch := log.unwritten():
        rows += batch.rows
        log.wrote(batch)
    return rows


def die(log: WriteAheadLog) -> None:
    """Like kill -9: the lock ends with the process, the files stay."""
    log._lock.release()


def orphaned_rows(root: Path) -> list[Row]:
    """What the next process finds in the logs of dead ones."""
    rows: list[Row] = []
    while orphaned := take_over(root):
        rows += orphaned.rows()
        orphaned.remove()
        orphaned.release()
    return rows


def test_rows_come_out_once_and_in_order(make: Make) -> None:
    log = make()
    for number in range(5000):
        log.accepted(begun(number))
        log.ended(ended(number))
    assert log.unwritten_rows == 5000
    assert drain(log) == [ended(number) for number in range(5000)]
    assert (log.size, log.unwritten_rows) == (0, 0)
    assert len(list(log.folder.iterdir())) == 1


def test_a_file_stays_until_its_requests_have_ended(make: Make) -> None:
    log = make()
    log.accepted(begun(0))
    for number in range(1, 1 + SEGMENT_BYTES // 100):
        log.ended(ended(number))
    drain(log)
    assert log.size > SEGMENT_BYTES / 2
    log.ended(ended(0))
    assert drain(log) == [ended(0)]
    assert log.size == 0


def test_every_row_of_a_killed_process_is_found(make: Make, tmp_path: Path) -> None:
    log, alive = make(), make()
    for number in range(3):
        log.accepted(begun(number))
    log.ended(ended(0))
    drain(log)
    log.ended(ended(1))
    alive.accepted(begun(7))
    assert orphaned_rows(tmp_path / "ledger") == [], "the files of a process that lives are its own"
    die(log)
    found = {row.request_id: row for row in orphaned_rows(tmp_path / "ledger")}
    assert found == {row.request_id: row for row in (ended(0), ended(1), begun(2))}
    assert [folder.name for folder in (tmp_path / "ledger").iterdir()] == [alive.folder.name]


def test_a_line_that_a_power_failure_cut_off_is_skipped(make: Make, tmp_path: Path) -> None:
    log = make()
    log.ended(ended(1))
    die(log)
    (file,) = log.folder.iterdir()
    file.write_bytes(file.read_bytes() + ended(2).line()[:40])
    assert orphaned_rows(tmp_path / "ledger") == [ended(1)]


def test_space_is_kept_free_for_the_last_lines_of_running_requests(tmp_path: Path) -> None:
    log = WriteAheadLog(tmp_path / "ledger", 3 * REQUEST_BYTES, Random(1))
    number = 0
    while log.has_room:
        log.accepted(begun(number))
        number += 1
    for open_one in range(number):
        log.ended(ended(open_one))
    assert number > 0
    assert log.size <= 3 * REQUEST_BYTES
    drain(log)
    assert log.has_room


def test_close_removes_the_log_only_when_all_is_written(make: Make, tmp_path: Path) -> None:
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
