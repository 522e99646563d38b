"""What runs the tasks of a stage: datatrove's executors. A task that was finished is never run again.

Slurm and Ray get a stage as a pickle, which datatrove writes to its log folder: whoever may write there runs code as
the one who started the stage. The local executor passes it through a pipe between its own processes.
"""

import contextlib
import importlib.util
import inspect
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import multiprocess
from datatrove.executor.base import PipelineExecutor
from datatrove.executor.local import LocalPipelineExecutor
from datatrove.executor.ray import RayPipelineExecutor
from datatrove.executor.slurm import SlurmPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.stats import PipelineStats
from loguru import logger

from services.shared.folder_lock import FolderLock
from trainer.data.wrong import WrongData

Kind = Literal["local", "slurm", "ray"]
POLL_S = 5.0
STAGE_LIMIT_S = 7 * 24 * 3600.0
"""How long a stage may take on Slurm, its time in the queue included."""
_PRELOADED = ("trainer.preparing.sharding", "spacy")
"""What every process of a stage needs, and which takes seconds to import."""
_OURS = {"self", "pipeline", "tasks", "workers", "logging_dir", "skip_completed", "depends", "depends_job_id"}
_DISTRIBUTED: Mapping[str, type[PipelineExecutor]] = {"slurm": SlurmPipelineExecutor, "ray": RayPipelineExecutor}


class Busy(WrongData):
    """Processes of an earlier run still work in the folder."""


@dataclass(frozen=True, slots=True)
class Stages:
    """Runs stages one after another.

    Attributes:
        kind: The executor.
        workers: Tasks at the same time.
        options: Of the executor, by datatrove's names.
        logs: Folder that holds for each stage its log, its counts, and marks of the tasks that are finished.
        sleep: Waits for so many seconds.
        told: Is told the name of each stage, when it begins.
    """

    kind: Kind
    workers: int
    options: Mapping[str, Any]
    logs: Path
    sleep: Callable[[float], None]
    told: Callable[[str], None]

    def run(self, name: str, steps: Sequence[PipelineStep], tasks: int) -> None:
        """Returns when all tasks are finished.

        Raises:
            WrongData: The data cannot be read, or the stage did not end within STAGE_LIMIT_S.
        """
        executor = self._executor(list(steps), tasks, self.logs / name)
        if not executor.get_incomplete_ranks():
            return
        self.told(name)
        with _silent():
            executor.run()
        waited = 0.0
        while left := executor.get_incomplete_ranks():
            if waited >= STAGE_LIMIT_S:
                raise WrongData(
                    f"{len(left)} tasks of {name} did not end within {STAGE_LIMIT_S:.0f} s: see {self.logs}"
                )
            if not waited:
                self.told(f"{name}: waiting for {len(left)} tasks; their log is in {self.logs / name}")
            self.sleep(POLL_S)
            waited += POLL_S

    def is_done(self, name: str, tasks: int) -> bool:
        """Whether all tasks of a stage are finished."""
        return all((self.logs / name / "completions" / f"{task:05d}").exists() for task in range(tasks))

    def _executor(self, steps: list[PipelineStep], tasks: int, logs: Path) -> PipelineExecutor:
        workers = min(self.workers, tasks)
        if self.kind == "local":
            return LocalExecutor(steps, tasks=tasks, workers=workers, logging_dir=str(logs))
        return _DISTRIBUTED[self.kind](steps, tasks=tasks, workers=workers, logging_dir=str(logs), **self.options)


class LocalExecutor(LocalPipelineExecutor):  # type: ignore[misc]
    """datatrove's local executor without its manager process, which would outlive a kill with the folder locked.

    A task holds a shared lock while it runs, so that a new run notices what a kill left behind.
    """

    def run(self) -> None:
        """Runs the tasks that are not finished; see PipelineExecutor."""
        self.save_executor_as_json()
        ranks = self.get_incomplete_ranks(range(self.tasks))
        if self.workers == 1:
            for rank in ranks:
                deepcopy(self)._run_for_rank(rank)
            return
        context = multiprocess.get_context("forkserver")
        context.set_forkserver_preload(list(_PRELOADED))
        with context.Pool(self.workers) as pool:
            for _ in pool.imap_unordered(self._run_for_rank, ranks):
                pass

    def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1) -> PipelineStats:
        folder = Path(self.logging_dir.path)
        folder.mkdir(parents=True, exist_ok=True)
        lock = FolderLock.to_use(folder.parent)
        try:
            with _silent():
                return super()._run_for_rank(rank, local_rank, node_rank)
        finally:
            if lock:
                lock.release()


def check_executor(kind: Kind, options: Mapping[str, Any], work: Path) -> None:
    """Looks whether an executor can be had.

    Raises:
        WrongData: A package or program is missing, or an option is unknown.
    """
    if kind == "slurm" and len(str(work).split()) > 1:
        raise WrongData(f"work = {work}: datatrove's job script breaks at the space: name a folder without one")
    if kind == "slurm" and shutil.which("sbatch") is None:
        raise WrongData("executor = slurm: there is no sbatch on the PATH: start it where jobs are submitted")
    if kind == "ray" and importlib.util.find_spec("ray") is None:
        raise WrongData("executor = ray: the package ray is not installed: pip install 'ray[default]'")
    if kind == "local":
        return
    known = inspect.signature(_DISTRIBUTED[kind].__init__).parameters
    for name in options:
        if name in _OURS or name not in known:
            raise WrongData(
                f"executor_options.{name}: datatrove's executor has {', '.join(sorted(known.keys() - _OURS))}"
            )
    required = [name for name, each in known.items() if each.default is inspect.Parameter.empty and name not in _OURS]
    if missing := [
        name for name in required if name not in options and known[name].kind is not known[name].VAR_KEYWORD
    ]:
        raise WrongData(f"executor_options: executor = {kind} needs {', '.join(missing)}")


def check_nobody_works(logs: Path) -> None:
    """Raises Busy: Tasks of an earlier run, which was killed, still run."""
    logs.mkdir(parents=True, exist_ok=True)
    if (lock := FolderLock.to_write(logs)) is None:
        raise Busy(f"{logs.parent}: processes of an earlier run still work there: start again when they have ended")
    lock.release()


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keeps datatrove's log from the terminal. It is written to files as well."""
    logger.remove()  # what writes to the terminal since datatrove was imported
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere):
        try:
            yield
        finally:
            logger.remove()  # it would go on writing to `nowhere`
