"""`tidegate train`: what a wrong call is told, and how a refused result ends."""

from pathlib import Path

import pytest
import yaml

from services.cli.commands import train
from services.cli.errors import REFUSED, WRONG_USE, CommandFailed
from services.cli.views.training_jobs import follow_log
from services.shared.clock import SystemClock
from trainer.gate import Worse
from trainer.jobs.database import connect
from trainer.jobs.job import Progress
from trainer.jobs.queue import JobQueue
from trainer.recipe_file import METHODS, parse
from trainer.run import Run


def test_a_recipe_to_start_from_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    train.init("dpo")
    assert parse(yaml.safe_load(capsys.readouterr().out)).method == "dpo"


def test_an_unknown_method_is_told_with_those_that_there_are() -> None:
    with pytest.raises(CommandFailed, match=f"there is no method ppo: it is one of {', '.join(METHODS)}") as error:
        train.init("ppo")
    assert error.value.status == WRONG_USE


def test_a_wrong_change_of_a_recipe_is_told(tmp_path: Path) -> None:
    recipe = Path("trainer/recipes/quillhaven.yaml")
    with pytest.raises(CommandFailed, match=r"wrong recipe:\n.*quillhaven\.yaml: stepps = 3: unknown key"):
        train.run(recipe, ["stepps=3"], output=tmp_path)


def test_a_result_that_the_gate_refuses_has_an_exit_status_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(run: Run) -> None:
        raise Worse("the gate refuses the result")

    monkeypatch.setattr(Run, "make", refuse)
    monkeypatch.setattr(train, "_registrar", lambda _: None)
    with pytest.raises(CommandFailed, match="the gate refuses") as error:
        train.run(Path("trainer/recipes/quillhaven.yaml"), output=tmp_path)
    assert error.value.status == REFUSED


def test_the_log_of_a_job_is_followed_until_it_has_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    queue = JobQueue(connect(f"sqlite:///{tmp_path / 'jobs.sqlite3'}"), SystemClock())
    name = queue.submit("{}", "").id
    lease = queue.lease("one")
    assert lease
    queue.heartbeat(lease, Progress(), ["loading [model]"])
    follow_log(queue, name, follow=False)

    def sleep(_: float) -> None:
        queue.heartbeat(lease, Progress(), ["published tuned@1"])
        queue.succeed(lease, ("tuned@1",))

    follow_log(queue, name, follow=True, sleep=sleep)
    said = [line.partition("Z ")[2] for line in capsys.readouterr().out.splitlines()]
    assert said == ["loading [model]", "loading [model]", "published tuned@1"]
