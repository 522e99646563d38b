import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from services.shared.scratch import scratch


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def killed(temporary: Path) -> Path:
    """The folder of a process that was killed."""
    work = "import os; from services.shared.scratch import scratch\nwith scratch('import') as folder:\n"
    work += "    (folder / 'half').touch(); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", work], env={**os.environ, "TMPDIR": str(temporary)}, check=False)
    (left,) = temporary.iterdir()
    return left


def test_a_folder_goes_with_its_work(temporary: Path) -> None:
    def fail() -> None:
        with scratch("import") as folder:
            (folder / "half").touch()
            assert list(temporary.iterdir()) == [folder]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(temporary.iterdir()) == []


def test_what_a_killed_process_left_goes_when_the_next_begins(temporary: Path) -> None:
    left = killed(temporary)
    assert (left / "half").exists()
    with scratch("upload"):
        assert left.exists()
    with scratch("import") as folder:
        assert list(temporary.iterdir()) == [folder] != [left]


def test_what_is_in_use_or_not_ours_stays(temporary: Path) -> None:
    (temporary / "tidegate-import-notes").touch()
    (temporary / "elsewhere").mkdir()
    (temporary / "elsewhere" / "thesis.tex").touch()
    (temporary / "tidegate-import-link").symlink_to(temporary / "elsewhere")
    with scratch("import") as first, scratch("import") as second:
        assert first != second
        assert first.exists()
    assert (temporary / "tidegate-import-notes").exists()
    assert (temporary / "elsewhere" / "thesis.tex").exists()
