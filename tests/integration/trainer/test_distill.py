"""A model of a few thousand weights learns what a served teacher answers; so does a draft model made for it."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from obstore.store import MemoryStore

from services.shared.clock import SystemClock
from services.shared.manifests import Measured
from services.shared.objectstore import ObjectStore
from services.shared.registry import Reference, Registry
from services.shared.speculators import misfit
from services.shared.staging import Stager
from tests.integration.trainer import tiny
from tests.integration.trainer.served_teacher import ServedTeacher, Told, answered, served_teacher
from tests.integration.trainer.test_run import Killed, Watcher
from tests.support.signing import TRUSTED
from trainer import loss_curve
from trainer.data.wrong import WrongData
from trainer.errors import Unfit
from trainer.order import Outcome
from trainer.publish import file_of
from trainer.responses import ChangedResponses
from trainer.run import Run
from trainer.teacher import TeacherRefused

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("default")]
DISTILL: dict[str, Any] = {"method": "distill", "teacher": {"model": "big"}, "adapter": None}
STUDENT = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def store(base: Path) -> ObjectStore:
    store = ObjectStore(MemoryStore())
    asyncio.run(tiny.publish_base(store, base))
    return store


def about_the_lantern(body: dict[str, Any]) -> Told:
    """Answers that no data of tiny.py has."""
    return answered("the lantern .")


@pytest.fixture
def teacher() -> Iterator[ServedTeacher]:
    with served_teacher(about_the_lantern) as served:
        yield served


def make(
    store: ObjectStore, folder: Path, teacher: ServedTeacher | None, watcher: Watcher | None = None, **recipe: object
) -> Outcome:
    folder.mkdir(exist_ok=True)
    made = tiny.recipe(**{"data": tiny.chats(folder / "chats.jsonl"), **DISTILL, **recipe})
    order = replace(tiny.order(made, folder), teacher=teacher.endpoint() if teacher else None)
    return Run(order, tiny.registrar(store), watcher or Watcher(), clock=SystemClock(), random=Random(1)).make()


def test_a_run_that_was_killed_while_it_asked_asks_the_rest_and_ends_as_if_it_had_not_been(
    store: ObjectStore, tmp_path: Path, teacher: ServedTeacher
) -> None:
    whole = make(store, tmp_path / "whole", teacher, publish={"name": "tuned"})
    assert len(teacher.asked) == 12
    assert teacher.most <= 4
    request = teacher.asked[0]
    assert [message["role"] for message in request.pop("messages")] == ["user"]
    assert request == {"model": "big", "max_tokens": 512, "temperature": 0.0, "top_p": 1.0}

    broken, asked = tmp_path / "broken", len(teacher.asked)
    for watcher in (Watcher(phase="asking big: 5 of 12"), Watcher(last=3), Watcher(phase="measuring the result")):
        with pytest.raises(Killed):
            make(store, broken, teacher, watcher, publish={"name": "tuned"})
    collected = (broken / "run/responses.jsonl").read_bytes().splitlines()
    assert sorted(json.loads(line)["number"] for line in collected) == list(range(12))
    assert len(teacher.asked) - asked < 12 + 4, "only what was on its way at the kill is asked twice"
    asked = len(teacher.asked)
    # All answers are there, so that the teacher is needed no more.
    assert make(store, broken, None, publish={"name": "tuned"}).held_out_after == whole.held_out_after
    assert len(teacher.asked) == asked
    weights = [file_of(folder / "run/merged/model.safetensors") for folder in (tmp_path / "whole", broken)]
    assert weights[0] == weights[1]
    curves = [loss_curve.read(folder / "run/metrics.jsonl") for folder in (tmp_path / "whole", broken)]
    assert curves[0] == curves[1]

    (manifest,) = whole.published
    parent = asyncio.run(Registry(store).resolve(Reference("tiny")))
    assert manifest.source == f"trained from tiny@{parent.version[:12]} by distill"
    assert manifest.training
    assert manifest.training.recipe
    assert manifest.training.recipe["base"] == f"tiny@{parent.version}"
    told = manifest.training.recipe["teacher"]
    assert (told["model"], told["responses"]) == ("big", 12)
    assert told["responses_sha256"] == file_of(tmp_path / "whole/run/responses.jsonl").sha256
    assert set(manifest.evaluation) == {"held_out_loss", "held_out_token_accuracy"}


def test_a_draft_model_has_the_vocabulary_of_its_target_and_names_it(
    store: ObjectStore, tmp_path: Path, teacher: ServedTeacher
) -> None:
    draft: dict[str, Any] = {"student": STUDENT, "publish": {"name": "tiny-draft"}, "steps": 24}
    outcome = make(store, tmp_path / "whole", teacher, **draft)
    with pytest.raises(Killed):
        make(store, tmp_path / "broken", teacher, Watcher(last=7), **draft)
    (again,) = make(store, tmp_path / "broken", teacher, **draft).published
    (manifest,) = outcome.published
    assert again.version == manifest.version, "the same weights from the same answers"
    target = asyncio.run(Registry(store).resolve(Reference("tiny")))
    assert manifest.source == f"draft model for tiny@{target.version[:12]}, distilled from answers of big"
    assert (manifest.parent, manifest.architecture) == (target.version, "LlamaForCausalLM")
    assert manifest.kind == "speculator"
    assert manifest.speculates
    assert manifest.speculates.target == f"tiny@{target.version}"
    assert (manifest.speculates.method, manifest.speculates.tokens) == ("draft_model", 3)
    assert misfit("speculation", "draft_model", manifest, target) is None
    assert (manifest.golden, set(manifest.evaluation)) == ((), {"held_out_loss", "held_out_token_accuracy"})
    assert manifest.evaluation["held_out_loss"] == Measured(value=outcome.held_out_after or 0)
    assert (manifest.vocab_size, manifest.context_tokens) == (target.vocab_size, target.context_tokens)
    assert manifest.tokenizer_sha256 == target.tokenizer_sha256
    folder = asyncio.run(Stager(store, tmp_path / "staged", SystemClock(), TRUSTED).stage(manifest))
    config = json.loads((folder / "config.json").read_text())
    assert {name: config[name] for name in STUDENT} == STUDENT
    assert (config["eos_token_id"], config["pad_token_id"], config["dtype"]) == (3, 0, "bfloat16")
    assert outcome.held_out_after is not None
    assert outcome.held_out_before is not None
    assert outcome.held_out_after < outcome.held_out_before / 2
    assert outcome.figures["held_out_token_accuracy"] == 1


def test_texts_are_questions_and_answers_that_are_not_whole_are_left_out(store: ObjectStore, tmp_path: Path) -> None:
    data = tmp_path / "questions.jsonl"
    texts = ["what is blue ?", "what is green ?", "what is the moon ?", "what is the tide ?"]
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))

    def respond(body: dict[str, Any]) -> Told:
        (message,) = body["messages"]
        if "blue" in message["content"]:
            return answered("the", "length")
        if "green" in message["content"]:
            return answered("")
        return answered("the lantern .")

    watcher = Watcher()
    with served_teacher(respond) as served:
        outcome = make(store, tmp_path / "run", served, watcher, data=data, steps=1)
    assert (outcome.counts.learnt, outcome.counts.held_out) == (1, 1)
    assert watcher.notes == [
        "1 of 4 answers of the teacher are left out: a turn is empty or null",
        "1 of 4 answers of the teacher are left out: they were cut off at teacher.max_tokens",
    ]


def test_what_cannot_be_asked_is_refused_before_anybody_is_asked(
    store: ObjectStore, tmp_path: Path, teacher: ServedTeacher
) -> None:
    with pytest.raises(WrongData, match="method distill asks what conversations or texts ask, and the data holds pref"):
        make(store, tmp_path / "pairs", teacher, data=tiny.preferences(tmp_path / "pairs.jsonl"))
    with pytest.raises(Unfit, match=r"where is it served\? Set TIDEGATE_TEACHER_URL"):
        make(store, tmp_path / "nowhere", None)
    assert teacher.asked == []
    unknown: Told = (404, {}, {"error": {"message": "no such model"}})
    with served_teacher(lambda _: unknown) as served, pytest.raises(TeacherRefused, match="404: no such model"):
        make(store, tmp_path / "unknown", served)


def test_a_teacher_of_whose_answers_nothing_can_be_learnt_ends_the_run(store: ObjectStore, tmp_path: Path) -> None:
    cut = answered("the", "length")
    with served_teacher(lambda _: cut) as served, pytest.raises(WrongData, match=r"of 12 answers .* 0 can be learnt"):
        make(store, tmp_path, served)


def test_answers_that_were_changed_are_not_learnt(store: ObjectStore, tmp_path: Path, teacher: ServedTeacher) -> None:
    with pytest.raises(Killed):
        make(store, tmp_path, teacher, Watcher(last=1))
    file = tmp_path / "run/responses.jsonl"
    file.write_text(file.read_text().replace("lantern", "harbour"))
    with pytest.raises(ChangedResponses, match="was changed"):
        make(store, tmp_path, teacher)
