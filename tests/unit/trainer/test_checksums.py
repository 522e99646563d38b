"""Which checkpoint a run goes on from: the last whole one."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.checksums import SEAL, BrokenSeal, is_sealed, latest, seal


def checkpoint(folder: Path, step: int) -> Path:
    made = folder / f"checkpoint-{step}"
    (made / "parts").mkdir(parents=True)
    (made / "trainer_state.json").write_text(f"step {step}")
    (made / "parts" / "shard-1.safetensors").write_bytes(b"0123456789" * 100)
    seal(made)
    return made


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def unseal(file: Path) -> None:
    (file.parents[1] / SEAL).unlink()


@pytest.mark.parametrize("tear", [truncate, Path.unlink, unseal], ids=["a file cut short", "a file gone", "no seal"])
def test_a_torn_checkpoint_is_removed_and_the_one_before_it_taken(tmp_path: Path, tear: Callable[[Path], None]) -> None:
    whole = checkpoint(tmp_path, 9)
    torn = checkpoint(tmp_path, 10)
    tear(torn / "parts/shard-1.safetensors")
    assert latest(tmp_path) == (9, whole)
    assert not torn.exists()


def test_other_content_of_the_same_size_does_not_come_about_by_itself(tmp_path: Path) -> None:
    checkpoint(tmp_path, 9)
    (checkpoint(tmp_path, 10) / "parts/shard-1.safetensors").write_bytes(b"x" * 1000)
    with pytest.raises(BrokenSeal, match=r"checkpoint-10 was changed after it was saved: parts/shard-1\.safetensors"):
        latest(tmp_path)


def test_a_seal_of_an_older_release_holds(tmp_path: Path) -> None:
    made = checkpoint(tmp_path, 9)
    entries = json.loads((made / SEAL).read_bytes())
    (made / SEAL).write_text(json.dumps({name: entry["sha256"] for name, entry in entries.items()}))
    assert is_sealed(made)
    assert latest(tmp_path) == (9, made)
