"""python -m trainer.ranks.rank TASK: one of the processes that learn a task together. torchrun's agent starts it.

Only the process with rank 0 tells how it goes, and writes the files that there is one of.
"""

import os
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import IO

from trainer.learner import Learner
from trainer.processes import Processes, check_devices
from trainer.quiet import quiet, share_cores
from trainer.ranks import lifeline
from trainer.ranks.agent import STORE
from trainer.ranks.events import Event
from trainer.ranks.failures import KINDS
from trainer.ranks.task import Task
from trainer.run_events import Note, Phase, Step

COLLECTIVE_LIMIT_S = 1800
"""Seconds that processes wait for each other. One that hangs without ending ends the run then."""


class EventWriter:
    """The watcher of a process: everything as an event. Without `out`, nothing."""

    def __init__(self, out: IO[str] | None) -> None:
        self._out = out

    def phase(self, name: str) -> None:
        """Reports that a phase of the run begins."""
        self._tell(Phase(name=name))

    def note(self, text: str) -> None:
        """Reports what people should know."""
        self._tell(Note(text=text))

    def step(self, done: int, total: int, loss: float) -> None:
        """Reports a finished step and its loss (nats a token)."""
        self._tell(Step(done=done, total=total, loss=loss))

    def uploading(self, total_bytes: int) -> Callable[[int], None]:
        """Nothing is uploaded here."""
        return lambda _: None

    def _tell(self, event: Event) -> None:
        if self._out is not None:
            self._out.write(event.model_dump_json() + "\n")
            self._out.flush()


def main() -> None:
    """Learns its part of the task."""
    share_cores()
    quiet()
    lifeline.hold()
    from torch.distributed.elastic.multiprocessing.errors import get_error_handler

    processes = Processes(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    watcher = EventWriter(_events(processes))
    try:
        _learn(Path(sys.argv[1]), processes, watcher)
    except Exception as error:
        get_error_handler().record_exception(error)
        if isinstance(error, KINDS):
            raise SystemExit(1) from None
        raise


def _learn(file: Path, processes: Processes, watcher: EventWriter) -> None:
    import torch
    import torch.distributed as dist

    cuda = torch.cuda.is_available()
    check_devices(int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count())
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if cuda else "gloo",
        store=dist.FileStore(os.environ[STORE], processes.count),
        rank=processes.rank,
        world_size=processes.count,
        timeout=timedelta(seconds=COLLECTIVE_LIMIT_S),
    )
    try:
        task = Task.read(file)
        own = task.parsed(), task.base, task.split(file.parent), task.folder, task.name
        learner = Learner(*own, watcher, processes)
        learner.learn(task.known)
        dist.barrier()
    finally:
        dist.destroy_process_group()


def _events(processes: Processes) -> IO[str] | None:
    """Standard output for events alone; whatever libraries print goes to standard error."""
    own = os.fdopen(os.dup(1), "w") if processes.writes else None
    os.dup2(2, 1)
    return own


if __name__ == "__main__":
    main()
