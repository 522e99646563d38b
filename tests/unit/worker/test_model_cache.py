"""The model cache removes unused versions and keeps those in use."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.shared.folder_lock import FolderLock
from services.worker.cache_room import NoRoom
from services.worker.model_cache import ModelCache

A, B, C, D = (Path(letter * 64) for letter in "abcd")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Four versions; A was used longest ago."""
    for age, version in enumerate((D, C, B, A)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "model.safetensors").touch()
        os.utime(tmp_path / version, (1_000 - age, 1_000 - age))
    return tmp_path


def left(cache: Path) -> set[Path]:
    return {Path(entry.name) for entry in cache.iterdir()}


@pytest.mark.parametrize(("spare", "stay"), [(0, set()), (1, {D}), (2, {C, D}), (9, {A, B, C, D})])
def test_the_latest_unused_versions_stay(cache: Path, spare: int, stay: set[Path]) -> None:
    ModelCache(cache, spare).sweep()
    assert left(cache) == stay


def test_a_version_that_any_worker_uses_stays(cache: Path) -> None:
    one, other = ModelCache(cache, 0), ModelCache(cache, 0)
    assert one.hold(cache / A)
    assert other.hold(cache / B)
    assert other.hold(cache / A)
    one.sweep()
    assert left(cache) == {A, B}
    one.keep(())
    one.sweep()
    assert left(cache) == {A, B}, "the other one uses both"
    other.keep({cache / A})
    one.sweep()
    assert left(cache) == {A}
    other.keep(())


def test_use_makes_a_version_the_latest(cache: Path) -> None:
    model_cache = ModelCache(cache, 1)
    model_cache.hold(cache / A)
    model_cache.keep(())
    model_cache.sweep()
    assert left(cache) == {A}


def test_a_removed_version_cannot_be_held(cache: Path) -> None:
    model_cache = ModelCache(cache, 0)
    assert not model_cache.hold(cache / ("e" * 64))
    removal = FolderLock.to_remove(cache / A)
    assert removal is not None
    assert not model_cache.hold(cache / A)
    removal.release()
    assert model_cache.hold(cache / A)
    model_cache.keep(())


def test_a_killed_download_stays_for_a_day_and_a_running_one_as_long_as_it_runs(cache: Path) -> None:
    """The first name is that of an older release, which could not continue a download."""
    killed, running, recent, old = (cache / f".part-{name}" for name in ("killed", "1" * 64, "2" * 64, "3" * 64))
    for folder in (killed, running, recent, old):
        folder.mkdir()
    (recent / "model.safetensors").touch()
    for folder in (running, recent, old):
        os.utime(folder, (1_000, 1_000))
    lock = FolderLock.to_use(running)
    assert lock is not None
    ModelCache(cache, 9).sweep()
    assert left(cache) == {A, B, C, D, Path(running.name), Path(recent.name)}
    lock.release()


def test_room_is_made_by_what_was_used_longest_ago_and_only_if_that_is_enough(cache: Path) -> None:
    for version in (A, B, C, D):
        (cache / version / "model.safetensors").write_bytes(b"w" * (1 << 20))
    os.link(cache / A / "model.safetensors", cache / D / "shared.safetensors")
    (cache / (".part-" + "1" * 64)).mkdir()
    model_cache, used = ModelCache(cache, 9, 5 << 20), ModelCache(cache, 9)
    assert used.hold(cache / B)
    model_cache.make_room(1 << 20)
    assert len(left(cache)) == 5, "it fits as it is"
    with pytest.raises(NoRoom, match=r"10 MiB are still to be fetched, 6 MiB more than .* the cache holds 4 MiB"):
        model_cache.make_room(10 << 20)
    assert len(left(cache)) == 5, "nothing is removed in vain"
    model_cache.make_room(2 << 20)
    assert left(cache) == {B, D}, "A shares its file with D, so C had to go too"
    used.keep(())


def test_other_files_stay(cache: Path) -> None:
    (cache / "lost+found").mkdir()
    (cache / ("f" * 64)).touch()
    ModelCache(cache, 0).sweep()
    assert left(cache) == {Path("lost+found"), Path("f" * 64)}


def test_a_cache_folder_that_does_not_exist_is_ignored(tmp_path: Path) -> None:
    ModelCache(tmp_path / "none", 0).sweep()


@pytest.mark.parametrize("look", [ModelCache.sweep, lambda cache: cache.make_room(1)])
def test_a_folder_that_gets_another_name_while_it_is_looked_at_harms_nobody(
    cache: Path, monkeypatch: pytest.MonkeyPatch, look: Callable[[ModelCache], None]
) -> None:
    """Another version is complete just now."""
    part, whole, scandir = cache / f".part-{'e' * 64}", cache / ("e" * 64), os.scandir
    part.mkdir()

    def late(folder: str | Path) -> Any:
        if Path(folder) == part and part.exists():
            part.rename(whole)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", late)
    look(ModelCache(cache, 9))
    assert left(cache) == {A, B, C, D, Path(whole.name)}
