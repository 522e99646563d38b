"""`tidegate train submit` sends data of any form in the inner form, with a recipe that reads it."""

import json
from pathlib import Path

import pytest
import yaml

from services.cli.commands.train import submit
from services.cli.errors import CommandFailed
from services.shared.clock import SystemClock
from trainer.data.reader import load
from trainer.jobs.database import connect
from trainer.jobs.queue import JobQueue
from trainer.recipe_file import parse


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = f"sqlite:///{tmp_path}/jobs.db"
    monkeypatch.setenv("TIDEGATE_DATABASE_URL", url)
    return url


def recipe_file(folder: Path, data: str) -> Path:
    file = folder / "recipe.yaml"
    keys = {"base": "tiny", "method": "sft", "data": data, "format": "alpaca", "steps": 3, "learning_rate": 0.001}
    file.write_text(yaml.safe_dump(keys))
    return file


def test_the_trainer_gets_what_the_reader_made_of_the_data(database: str, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("instruction,output,id\nWhen is high tide?,At noon.,1\nAnd low?,At six.,2\n")
    submit(recipe_file(tmp_path, "data.csv"), json=True)
    engine = connect(database)
    lease = JobQueue(engine, SystemClock()).lease("a trainer")
    engine.dispose()
    assert lease
    assert json.loads(lease.data.splitlines()[0]) == {
        "messages": [
            {"role": "user", "content": "When is high tide?"},
            {"role": "assistant", "content": "At noon."},
        ]
    }
    sent = parse(json.loads(lease.job.recipe))
    assert (sent.data, sent.format) == (Path("data.jsonl"), None)
    (tmp_path / "data.jsonl").write_text(lease.data)
    assert load(tmp_path / "data.jsonl").report.kept == 2


def test_wrong_data_is_told_before_anything_is_queued(database: str, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("instruction,output\na\n")
    with pytest.raises(CommandFailed, match=r"data\.csv:2: the row has 1 fields and the header 2"):
        submit(recipe_file(tmp_path, "data.csv"))
    assert not (tmp_path / "jobs.db").exists()


def test_a_recipe_without_data_is_sent_alone(database: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    models = [{"model": "a"}, {"model": "b"}]
    file.write_text(yaml.safe_dump({"base": "tiny", "method": "merge", "merge_method": "linear", "models": models}))
    submit(file, json=True)
    engine = connect(database)
    lease = JobQueue(engine, SystemClock()).lease("a trainer")
    engine.dispose()
    assert lease
    assert lease.data == ""
    assert parse(json.loads(lease.job.recipe)).data is None


PRETRAINING = {"method": "pretrain", "model": {"size": "1m"}, "tokenizer": "tiny", "steps": 3, "learning_rate": 0.001}


def test_the_trainer_itself_reads_what_a_pretraining_learns_in_a_bucket(database: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump({**PRETRAINING, "data": "s3://corpora/web", "weights": {"web": 1.0}}))
    submit(file, json=True)
    engine = connect(database)
    lease = JobQueue(engine, SystemClock()).lease("a trainer")
    engine.dispose()
    assert lease
    assert lease.data == ""
    assert parse(json.loads(lease.job.recipe)).data == "s3://corpora/web"


@pytest.mark.parametrize("changed", [{"weights": {"web": 1.0}}, {"tokenizer": "words"}])
def test_what_a_trainer_cannot_reach_is_not_sent_to_it(
    database: str, tmp_path: Path, changed: dict[str, object]
) -> None:
    (tmp_path / "words").mkdir()
    (tmp_path / "texts.jsonl").write_text('{"text": "high tide"}\n{"text": "low tide"}\n')
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump({**PRETRAINING, "data": "texts.jsonl", **changed}))
    with pytest.raises(CommandFailed, match=r"name s3://bucket/prefix|name a model in the registry"):
        submit(file)
    assert not (tmp_path / "jobs.db").exists()
