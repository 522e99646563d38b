from pathlib import Path

import pytest

from services.cli.commands.up import up
from services.local import s3
from services.local.data_folder import DataFolder
from services.local.errors import ClusterError

GB = 10**9


def test_a_full_disk_is_an_error_before_anything_is_made(tmp_path: Path) -> None:
    folder = DataFolder.at(tmp_path / "not" / "there" / "yet")
    looked_at: list[Path] = []

    def usage(path: Path) -> tuple[int, int, int]:
        looked_at.append(path)
        return 250 * GB, 248 * GB, 2 * GB

    with pytest.raises(ClusterError) as told:
        s3.check_disk(folder, usage)
    assert looked_at == [tmp_path]
    for word in (str(folder.root), "2.0 GB of 250.0 GB", "1 % (2.5 GB)", "free 500.0 MB or more", "--data-dir"):
        assert word in str(told.value)


def test_one_percent_is_enough(tmp_path: Path) -> None:
    s3.check_disk(DataFolder.at(tmp_path), lambda _: (250 * GB, 247 * GB, 5 * GB // 2))


def test_the_command_checks_the_disk_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: DataFolder) -> None:
        raise ClusterError("full")

    monkeypatch.setattr(s3, "check_disk", full)
    with pytest.raises(ClusterError, match="full"):
        up(data_dir=tmp_path / "data")
    assert not (tmp_path / "data").exists()
