"""Executors: what is missing is said, options go through to datatrove, and nobody works beside a killed run's tasks."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from datatrove.executor.slurm import SlurmPipelineExecutor

from services.shared.folder_lock import FolderLock
from trainer.data.wrong import WrongData
from trainer.preparing import executors
from trainer.preparing.documents import Kept
from trainer.preparing.executors import Busy, Stages, check_executor, check_nobody_works

WORK = Path("/shared/corpus.work")
OPTIONS = {"time": "1:00:00", "partition": "cpu"}


def test_a_missing_program_or_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(WrongData, match="executor = slurm: there is no sbatch"):
        check_executor("slurm", OPTIONS, WORK)
    with pytest.raises(WrongData, match="name a folder without one"):
        check_executor("slurm", OPTIONS, Path("/shared/my corpus"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WrongData, match="executor = ray: the package ray is not installed"):
        check_executor("ray", {}, WORK)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (OPTIONS | {"tasks": 7}, r"executor_options\.tasks: datatrove's executor has .*partition"),
        (OPTIONS | {"queue": "x"}, r"executor_options\.queue: datatrove's executor has .*partition"),
        ({"time": "1:00:00"}, "executor_options: executor = slurm needs partition"),
    ],
)
def test_wrong_options_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    _with_sbatch(monkeypatch, tmp_path)
    with pytest.raises(WrongData, match=said):
        check_executor("slurm", options, WORK)


def test_slurm_gets_the_stage_and_is_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _with_sbatch(monkeypatch, tmp_path)
    check_executor("slurm", OPTIONS, WORK)
    given: list[SlurmPipelineExecutor] = []
    # Slurm's submits the tasks, and does not wait for them.
    monkeypatch.setattr(SlurmPipelineExecutor, "run", lambda executor: given.append(executor))

    def sleep(seconds: float) -> None:
        done = sum(1 for _ in (tmp_path / "logs").glob("*/completions/*"))
        given[0].mark_rank_as_completed(done)

    step = Kept(tmp_path)
    told: list[str] = []
    Stages("slurm", 8, OPTIONS, tmp_path / "logs", sleep, told.append).run("clean", [step], 2)
    (executor,) = given
    assert (executor.pipeline, executor.tasks, executor.workers) == ([step], 2, 2)
    assert (executor.time, executor.partition) == ("1:00:00", "cpu")
    assert told == ["clean", f"clean: waiting for 2 tasks; their log is in {tmp_path / 'logs' / 'clean'}"]


def test_a_stage_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(SlurmPipelineExecutor, "run", lambda executor: None)
    monkeypatch.setattr(executors, "STAGE_LIMIT_S", 60.0)
    waited: list[float] = []
    stages = Stages("slurm", 1, OPTIONS, tmp_path, waited.append, lambda _: None)
    with pytest.raises(WrongData, match="1 tasks of clean did not end within 60 s"):
        stages.run("clean", [Kept(tmp_path)], 1)
    assert sum(waited) == 60


def test_tasks_that_a_kill_left_behind_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    task = FolderLock.to_use(tmp_path / "logs")
    assert task
    with pytest.raises(Busy, match="processes of an earlier run still work there"):
        check_nobody_works(tmp_path / "logs")
    task.release()
    check_nobody_works(tmp_path / "logs")


def _with_sbatch(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    program = folder / "sbatch"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
