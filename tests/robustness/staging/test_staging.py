"""The short drill: `python -m tests.robustness.staging` does it with 20 GiB and three kills."""

from pathlib import Path

import pytest

from tests.robustness.staging.drill import Setup, drill

pytestmark = pytest.mark.timeout(300)


async def test_a_killed_download_goes_on_where_it_was_and_a_change_costs_what_has_changed(tmp_path: Path) -> None:
    report = await drill(tmp_path, Setup(shards=4, shard_bytes=9 << 20, kills=1, seed=1, speed=24.0))
    assert report.violations == []
    assert 0 < report.on_disk[0] < report.size
