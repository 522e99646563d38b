"""python -m trainer.jobs.child FOLDER JOB CACHE: runs one job in a process of its own, whose end gives all memory back.

Events go to standard output; whatever libraries print goes to standard error. Standard input is a lifeline: it closes
when the trainer is gone, however it went, and then this process ends too.
"""

import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import IO, NoReturn

from services.shared.clock import SystemClock
from services.shared.manifests import WrongManifest
from services.shared.objectstore import StoreError
from services.shared.registry import UnknownVersion
from services.shared.settings import WrongSettings, read
from services.shared.staging import RefusedModel
from services.shared.telemetry import configure_logging
from trainer.announce import NotAnnounced, RolloutFailed
from trainer.checksums import BrokenSeal
from trainer.data.wrong import WrongData
from trainer.errors import NoRoom, Unfit, WrongCheckpoint
from trainer.gate import Worse
from trainer.gptq import GptqFailed
from trainer.jobs.events import Event, Failed, Succeeded
from trainer.loss_curve import Diverged
from trainer.order import Order
from trainer.ranks.failures import RankDied
from trainer.recipe_file import parse
from trainer.record import AnotherRun
from trainer.responses import ChangedResponses
from trainer.run import InUse, Run
from trainer.run_events import Note, Phase, Step
from trainer.settings import JobSettings
from trainer.teacher import TeacherAway, TeacherRefused

log = logging.getLogger(__name__)

WRONG = (
    WrongSettings,
    WrongData,
    WrongManifest,
    RefusedModel,
    WrongCheckpoint,
    UnknownVersion,
    AnotherRun,
    BrokenSeal,
    ChangedResponses,
    GptqFailed,
    Diverged,
    Unfit,
    Worse,
    RolloutFailed,
    TeacherRefused,
)
"""Trying again would end the same way."""
UNWELL = (StoreError, NotAnnounced, InUse, RankDied, NoRoom, TeacherAway)
MAX_REASON = 4000
"""Characters: an event is a line of bounded length."""


class EventWriter:
    """The run's watcher: everything as an event."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out

    def tell(self, event: Event) -> None:
        """Writes one event."""
        self._out.write(event.model_dump_json() + "\n")
        self._out.flush()

    def phase(self, name: str) -> None:
        """Reports that a phase of the run begins."""
        self.tell(Phase(name=name))

    def note(self, text: str) -> None:
        """Writes what people should know into the log."""
        log.warning("%s", text)
        self.tell(Note(text=text[:MAX_REASON]))

    def step(self, done: int, total: int, loss: float) -> None:
        """Reports a finished step and its loss (nats a token)."""
        self.tell(Step(done=done, total=total, loss=loss))

    def uploading(self, total_bytes: int) -> Callable[[int], None]:
        """Uploads are not reported: a job tells phases and steps only."""
        return lambda _: None


def main() -> None:
    """Runs the job that the arguments name, and reports its end as an event."""
    folder, job, cache = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    events = EventWriter(_events())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    configure_logging("trainer-job")
    try:
        published = _run(folder, job, cache, events)
    except WRONG as error:
        _fail(events, str(error), again=False)
    except UNWELL as error:
        _fail(events, str(error), again=True)
    events.tell(Succeeded(published=published))


def _run(folder: Path, job: str, cache: Path, events: EventWriter) -> tuple[str, ...]:
    recipe = parse(json.loads((folder / "recipe.json").read_bytes()))
    if isinstance(recipe.data, Path):  # what a bucket holds stays there
        recipe = recipe.model_copy(update={"data": folder / "data.jsonl"})
    settings = read(JobSettings)
    own = settings.teacher(), settings.gateway(), settings.llm_compressor, settings.train_processes
    order = Order(recipe, folder / "run", cache, job, *own)
    outcome = Run(order, settings.registrar(), events, clock=SystemClock(), random=Random()).make()  # noqa: S311
    return tuple(f"{manifest.model}@{manifest.version}" for manifest in outcome.published)


def _fail(events: EventWriter, reason: str, *, again: bool) -> NoReturn:
    events.tell(Failed(reason=reason[:MAX_REASON], again=again))
    raise SystemExit(1)


def _events() -> IO[str]:
    """Standard output for us alone."""
    own = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return own


def _end_with_parent() -> None:
    # Not through sys.stdin: its lock would be held when this process ends by itself.
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
