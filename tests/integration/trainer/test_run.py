"""A model of a few thousand weights is trained for real, stopped anywhere, and published."""

import asyncio
import errno
import gzip
import inspect
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from obstore.store import MemoryStore
from safetensors.torch import load_file, save_file

from services.shared.clock import SystemClock
from services.shared.folder_lock import FolderLock
from services.shared.manifests import Manifest, Training
from services.shared.objectstore import ObjectStore
from services.shared.registry import Reference, Registry, object_name
from services.shared.staging import RefusedModel, Stager
from tests.integration.trainer import tiny
from tests.support.signing import TRUSTED
from trainer import loss_curve, record
from trainer.checksums import SEAL, BrokenSeal, seal
from trainer.data.split import split
from trainer.data.wrong import WrongData
from trainer.errors import NoRoom, Unfit, WrongCheckpoint
from trainer.gate import Worse
from trainer.loss_curve import Diverged
from trainer.order import Outcome
from trainer.publish import file_of
from trainer.record import AnotherRun
from trainer.row_order import RowOrder
from trainer.run import InUse, Run

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("default")]


class Killed(Exception):
    pass


class Watcher:
    """Stops the run as a kill would, after the step `last` or in the phase `phase`."""

    def __init__(self, last: int = 1000, phase: str = "-") -> None:
        self.last, self.stop_in = last, phase
        self.steps: list[int] = []
        self.notes: list[str] = []

    def phase(self, name: str) -> None:
        if name.startswith(self.stop_in):
            raise Killed

    def note(self, text: str) -> None:
        self.notes.append(text)

    def step(self, done: int, total: int, loss: float) -> None:
        self.steps.append(done)
        if done == self.last:
            raise Killed

    def uploading(self, total_bytes: int) -> Callable[[int], None]:
        return lambda _: None


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def store(base: Path) -> ObjectStore:
    store = ObjectStore(MemoryStore())
    asyncio.run(tiny.publish_base(store, base))
    return store


def make(store: ObjectStore, folder: Path, watcher: Watcher | None = None, **recipe: object) -> Outcome:
    folder.mkdir(exist_ok=True)
    order = tiny.order(tiny.recipe(**{"data": tiny.chats(folder / "chats.jsonl"), **recipe}), folder)
    return Run(order, tiny.registrar(store), watcher or Watcher(), clock=SystemClock(), random=Random(1)).make()


def losses(outcome: Outcome) -> tuple[float, float]:
    """Before and after."""
    assert outcome.held_out_before is not None
    assert outcome.held_out_after is not None
    return outcome.held_out_before, outcome.held_out_after


RECIPES: dict[str, dict[str, Any]] = {
    "a LoRA": {"eval_every": 3},
    "all weights, mixed precision": {
        "adapter": None,
        "dtype": "bfloat16",
        "gradient_accumulation_steps": 2,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 2,
    },
    "preferences": {"method": "dpo", "adapter": {"r": 4}, "batch": 4},
    "judged answers": {"method": "kto", "adapter": {"r": 4}, "batch": 4},
    "a reward model": {"method": "reward", "adapter": {"r": 4}, "batch": 4},
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_run_stopped_anywhere_ends_as_if_it_had_not_been(
    store: ObjectStore, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    if recipe.get("method") in ("dpo", "kto", "reward"):
        recipe = {**recipe, "data": tiny.preferences(tmp_path / "pairs.jsonl")}
    whole = make(store, tmp_path / "whole", **recipe)
    broken = tmp_path / "broken"
    kills = [Watcher(last=1), Watcher(last=4), Watcher(last=6), Watcher(phase="measuring the result")]
    if recipe.get("method") in ("kto", "reward"):
        kills = kills[1::2]  # they learn as the others do: two kills show what is their own
    for watcher in kills:
        with pytest.raises(Killed):
            make(store, broken, watcher, **recipe)
    last = Watcher()
    assert make(store, broken, last, **recipe) == whole
    assert last.steps == []  # all of them had been made
    curves = [loss_curve.read(folder / "run/metrics.jsonl") for folder in (tmp_path / "whole", broken)]
    assert curves[0] == curves[1]
    assert [line["step"] for line in curves[0] if "loss" in line] == [1, 2, 3, 4, 5, 6]
    before, after = losses(whole)
    assert after < before
    weights = [(folder / "run/merged/model.safetensors").read_bytes() for folder in (tmp_path / "whole", broken)]
    assert weights[0] == weights[1]
    assert (broken / "run/loss.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_published_is_signed_says_where_it_comes_from_and_can_be_staged(
    store: ObjectStore, tmp_path: Path
) -> None:
    wanted = {"name": "tuned", "alias": "canary", "merged": True, "adapter": True}
    outcome = make(store, tmp_path, publish=wanted, steps=40)
    adapter, merged = outcome.published
    parent = asyncio.run(Registry(store).resolve(Reference("tiny")))
    assert asyncio.run(Registry(store).resolve(Reference("tuned", "canary"))) == merged
    assert asyncio.run(Registry(store).resolve(Reference("tuned-adapter", "canary"))) == adapter
    assert (merged.kind, merged.parent, adapter.parent) == ("model", parent.version, parent.version)
    assert (adapter.kind, adapter.base) == ("adapter", f"tiny@{parent.version}")
    assert (merged.architecture, merged.tokenizer_sha256) == (parent.architecture, parent.tokenizer_sha256)
    assert merged.evaluation["held_out_loss"] == adapter.evaluation["held_out_loss"] == outcome.loss
    data = file_of(tmp_path / "chats.jsonl").sha256
    assert merged.training == adapter.training
    assert merged.training is not None
    recipe = merged.training.recipe
    assert recipe is not None
    assert (recipe["base"], recipe["method"], recipe["steps"], recipe["adapter"]["r"]) == ("tiny", "sft", 40, 4)
    assert not {"data", "publish"} & recipe.keys()
    counted = merged.training.model_copy(update={"recipe": None})
    assert counted == Training(data_sha256=data, learnt=10, held_out=2, cut=0, dropped=0)
    assert merged.golden
    assert all(golden.expected_token_ids for golden in merged.golden)
    for manifest in (merged, adapter):
        folder = asyncio.run(stage(store, manifest, tmp_path))
        assert not [path for path in folder.iterdir() if str(tmp_path) in path.read_bytes().decode("latin-1")]


@pytest.mark.parametrize("damage", ["a bit flipped", "unsigned"])
def test_a_base_that_is_not_what_was_signed_is_not_trained_on(store: ObjectStore, tmp_path: Path, damage: str) -> None:
    manifest = asyncio.run(Registry(store).resolve(Reference("tiny")))
    file = "manifest.json" if damage == "unsigned" else "model.safetensors"
    asyncio.run(rewrite(store, object_name("tiny", manifest.version, file), DAMAGES[damage]))
    with pytest.raises(RefusedModel, match="is not signed" if damage == "unsigned" else "is corrupt"):
        make(store, tmp_path)


def test_a_checkpoint_that_was_changed_is_refused_before_it_is_read(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        make(store, tmp_path, Watcher(last=3))
    checkpoint = tmp_path / "run/checkpoints/checkpoint-2"
    assert not (checkpoint / "training_args.bin").exists()
    optimizer = checkpoint / "optimizer.pt"
    optimizer.write_bytes(flipped(optimizer.read_bytes()))
    with pytest.raises(BrokenSeal, match=r"optimizer\.pt"):
        make(store, tmp_path)
    (checkpoint / SEAL).unlink()  # as a kill in the middle of saving would have left it
    again = Watcher()
    make(store, tmp_path, again)
    assert again.steps[0] == 1


def test_four_bits_are_refused_where_there_is_no_gpu_before_anything_is_fetched(tmp_path: Path) -> None:
    recipe: dict[str, Any] = {"load_in_4bit": True, "dtype": "bfloat16", "adapter": {"r": 4}}
    with pytest.raises(Unfit, match="load_in_4bit is true, and this machine has no"):
        make(ObjectStore(MemoryStore()), tmp_path, **recipe)


def test_a_run_whose_disk_is_full_says_so_and_goes_on_from_the_last_whole_checkpoint(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(folder: Path) -> None:
        if folder.name == "checkpoint-4":
            raise OSError(errno.ENOSPC, "No space left on device")
        seal(folder)

    whole = make(store, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr("trainer.methods.fit.seal", full)
        with pytest.raises(NoRoom, match="is full: make room and call again"):
            make(store, tmp_path / "full")
    again = Watcher()
    assert make(store, tmp_path / "full", again) == whole
    assert again.steps == [3, 4, 5, 6]


def test_a_folder_of_another_recipe_is_left_alone(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        make(store, tmp_path, Watcher(last=1))
    with pytest.raises(AnotherRun, match="another recipe"):
        make(store, tmp_path, seed=8)


def test_two_processes_do_not_make_one_run(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    other = FolderLock.to_write(tmp_path / "run")
    assert other
    with pytest.raises(InUse):
        make(store, tmp_path)
    other.release()
    make(store, tmp_path)


def test_data_of_which_nothing_is_left_to_learn_is_refused(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(WrongData, match="max_length = 8 cuts off the answers of all examples to learn"):
        make(store, tmp_path, max_length=8)


def test_a_folder_of_texts_is_learnt_and_what_became_of_each_is_told(store: ObjectStore, tmp_path: Path) -> None:
    data, watcher = tmp_path / "texts", Watcher()
    data.mkdir()
    lines = [json.dumps({"id": number, "text": "the moon is the tide ."}) for number in range(4)]
    (data / "b.jsonl.gz").write_bytes(gzip.compress("\n".join([*lines, json.dumps({"text": None})]).encode()))
    (data / "a.txt").write_text("what is blue ? " * 40)
    outcome = make(store, tmp_path / "made", watcher, data=data, publish={"name": "tuned"}, steps=4, max_length=64)
    assert outcome.report
    assert (outcome.report.kept, outcome.counts.cut, outcome.counts.dropped) == (5, 0, 0)
    assert outcome.counts.learnt + outcome.counts.held_out == 4 + 3, "161 tokens are three parts"
    assert watcher.notes == [
        "1 samples are dropped, since the text is empty or null; the first is b.jsonl.gz:5",
        "fields that are not read: id (4)",
    ]
    (merged,) = outcome.published
    assert merged.training
    assert merged.training.data_sha256 == record.data_digest(data)
    (data / "a.txt").write_text("what is green ?")
    with pytest.raises(AnotherRun, match="other data"):
        make(store, tmp_path / "made", data=data, publish={"name": "tuned"}, steps=4, max_length=64)


def test_a_run_that_diverges_stops_at_once_and_publishes_nothing(
    store: ObjectStore, base: Path, tmp_path: Path
) -> None:
    """Weights that are numbers, but too large to be learnt from: the first step makes them NaN."""
    huge = shutil.copytree(base, tmp_path / "huge")
    tensors = load_file(huge / "model.safetensors")
    enlarged = {name: tensor * 1e30 for name, tensor in tensors.items()}
    save_file(enlarged, huge / "model.safetensors", metadata={"format": "pt"})
    asyncio.run(tiny.publish_base(store, huge))
    with pytest.raises(Diverged, match="the loss of step 2 is nan"):
        make(store, tmp_path, publish={"name": "tuned"})
    assert {name.partition("/")[0] for name in asyncio.run(names(store))} == {"tiny"}


def test_a_batch_that_makes_the_loss_spike_is_skipped_and_the_run_can_be_gone_on_with_before_and_after(
    store: ObjectStore, tmp_path: Path
) -> None:
    """The model knows by heart what all chats but one answer. That one comes in step 35, and never again."""
    at, steps = 35, 48
    training: Any = split(list(range(100)), 0.2, Random(7)).training  # type: ignore[arg-type]
    rows = list(RowOrder(80, 7, 2).first(steps))
    assert rows.count(rows[2 * at - 1]) == 1
    answers = ["the moon ."] * 100
    answers[training[rows[2 * at - 1]]] = "lantern green lantern ? lantern"
    asked = [{"role": "user", "content": "what is the tide ?"}]
    data = tmp_path / "poisoned.jsonl"
    data.write_text(
        "".join(json.dumps({"messages": [*asked, {"role": "assistant", "content": text}]}) + "\n" for text in answers)
    )
    recipe: dict[str, Any] = {"data": data, "steps": steps, "adapter": None, "save_every": 10, "publish": {"name": "a"}}
    whole = Watcher()
    outcome = make(store, tmp_path / "whole", whole, **recipe)
    (note,) = [note for note in whole.notes if "is a spike" in note]
    assert note.startswith(f"step {at} is a spike: the loss is")
    assert "skips that batch (1 of at most 3)" in note
    assert whole.steps == [*range(1, at), *range(31, steps + 1)], "it goes back to the last checkpoint"
    (published,) = outcome.published
    assert published.training
    assert published.training.recipe
    assert [skip["step"] for skip in published.training.recipe["spikes"]["skipped"]] == [at]
    broken = tmp_path / "broken"
    for last in (at - 1, at + 1):
        with pytest.raises(Killed):
            make(store, broken, Watcher(last=last), **recipe)
    make(store, broken, **recipe)
    weights = [(folder / "run/merged/model.safetensors").read_bytes() for folder in (tmp_path / "whole", broken)]
    assert weights[0] == weights[1]


def test_a_result_that_is_worse_than_its_base_is_published_only_when_a_person_says_so(
    store: ObjectStore, tmp_path: Path
) -> None:
    """What is learnt is another answer than that of the chats that are held out."""
    learnt: Any = split(list(range(12)), 0.2, Random(7)).training  # type: ignore[arg-type]
    asked = [{"role": "user", "content": "what is the tide ?"}]
    data = tmp_path / "contradicting.jsonl"
    answers = ["the moon ." if number in learnt else "lantern green harbour" for number in range(12)]
    data.write_text(
        "".join(json.dumps({"messages": [*asked, {"role": "assistant", "content": text}]}) + "\n" for text in answers)
    )
    recipe: dict[str, Any] = {"data": data, "steps": 20, "publish": {"name": "tuned", "adapter": True}}
    with pytest.raises(Worse, match=r"held-out loss is \d+\.\d{4}, .* set gate: \{publish_worse: true\}"):
        make(store, tmp_path, **recipe)
    assert {name.partition("/")[0] for name in asyncio.run(names(store))} == {"tiny"}
    again = Watcher()
    outcome = make(store, tmp_path, again, gate={"publish_worse": True}, **recipe)
    assert again.steps == []  # nothing was trained again
    before, after = losses(outcome)
    assert after > before
    assert len(outcome.published) == 2


def test_a_run_that_gets_no_better_stops_early_and_its_best_checkpoint_is_the_result(
    store: ObjectStore, tmp_path: Path
) -> None:
    recipe: dict[str, Any] = {
        "steps": 60,
        "learning_rate": 0.3,
        "eval_every": 2,
        "save_every": 2,
        "early_stopping_patience": 3,
    }
    with pytest.raises(Killed):
        make(store, tmp_path, Watcher(phase="measuring the result"), **recipe)
    again = Watcher()
    outcome = make(store, tmp_path, again, **recipe)
    assert again.steps == []  # it is known to have stopped
    curve = loss_curve.read(tmp_path / "run/metrics.jsonl")
    measured = [line[loss_curve.HELD_OUT] for line in curve if loss_curve.HELD_OUT in line]
    assert curve[-1]["step"] < 60
    assert outcome.held_out_after == pytest.approx(min(measured), rel=1e-5)
    assert min(measured) == measured[-4]


def test_preferences_are_learnt_beside_what_the_base_prefers(store: ObjectStore, tmp_path: Path) -> None:
    """Before the first step the model is its base, so the loss is that of a coin: ln 2."""
    recipe: dict[str, Any] = {"method": "dpo", "adapter": None, "publish": {"name": "tuned"}}
    data = tiny.preferences(tmp_path / "pairs.jsonl")
    outcome = make(store, tmp_path / "run", data=data, steps=12, batch=4, learning_rate=0.003, **recipe)
    assert outcome.held_out_before == pytest.approx(math.log(2), rel=1e-5)
    assert losses(outcome)[1] < 0.6
    assert outcome.figures == {"held_out_accuracy": 1.0}
    (published,) = outcome.published
    assert published.evaluation == {"held_out_loss": outcome.loss, "held_out_accuracy": 1.0}
    assert published.golden


def test_judged_answers_are_learnt_without_pairs(store: ObjectStore, tmp_path: Path) -> None:
    """Before the first step the model is its base: no answer has gained, and the loss is 1 - sigmoid(0)."""
    recipe: dict[str, Any] = {"method": "kto", "adapter": None, "batch": 4, "learning_rate": 0.003, "held_out": 0.4}
    data = tiny.judged(tmp_path / "judged.jsonl")
    outcome = make(store, tmp_path / "run", data=data, steps=12, publish={"name": "tuned"}, **recipe)
    assert outcome.held_out_before == pytest.approx(0.5, rel=1e-5)
    assert losses(outcome)[1] < 0.45
    assert outcome.figures["held_out_margin"] > 0.1
    assert outcome.counts.learnt + outcome.counts.held_out == 24
    assert outcome.published[0].evaluation["held_out_margin"] == outcome.figures["held_out_margin"]


def test_answers_that_are_all_good_are_no_data_for_kto(store: ObjectStore, tmp_path: Path) -> None:
    data = tiny.judged(tmp_path / "judged.jsonl")
    lines = data.read_text().splitlines(keepends=True)
    data.write_text("".join(line for line in lines if json.loads(line)["label"]))
    with pytest.raises(WrongData, match="none of the answers to learn is bad"):
        make(store, tmp_path / "run", data=data, method="kto", adapter=None)
    with pytest.raises(WrongData, match="judged answers are not all to be learnt"):
        make(store, tmp_path / "sft", data=data)


@pytest.mark.parametrize("method", ["sft", "dpo", "kto", "reward"])
def test_data_of_another_kind_than_the_method_learns_from_is_refused(
    store: ObjectStore, tmp_path: Path, method: str
) -> None:
    data = (tiny.preferences if method == "sft" else tiny.chats)(tmp_path / "other.jsonl")
    told = (
        "preference pairs are no answers"
        if method == "sft"
        else f"method {method} learns from (judged.*)?preference pairs, and the data holds conv"
    )
    with pytest.raises(WrongData, match=told):
        make(store, tmp_path / "run", data=data, method=method, adapter=None)


def test_packed_examples_do_not_see_each_other(store: ObjectStore, tmp_path: Path) -> None:
    """All examples equally often in one batch: the first loss is the same, however they lie in rows."""
    recipe: dict[str, Any] = {"adapter": None, "steps": 1, "batch": 60}
    for packing in (False, True):
        make(store, tmp_path / str(packing), packing=packing, **recipe)
    one, other = (loss_curve.read(tmp_path / str(packing) / "run/metrics.jsonl")[0] for packing in (False, True))
    assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)


def test_answers_that_are_cut_or_left_out_are_counted_and_told(store: ObjectStore, tmp_path: Path) -> None:
    """A chat of four turns, of which the third is cut and the fourth is left out."""
    talk = [{"role": role, "content": "the moon ."} for _ in range(4) for role in ("user", "assistant")]
    data = tmp_path / "long.jsonl"
    data.write_text(tiny.chats(tmp_path / "chats.jsonl").read_text() + json.dumps({"messages": talk}) + "\n")
    watcher = Watcher()
    outcome = make(store, tmp_path, watcher, data=data, max_length=34)
    assert (outcome.counts.cut, outcome.counts.dropped) == (1, 1)
    assert outcome.counts.learnt + outcome.counts.held_out == 12 + 3
    assert watcher.notes == [
        "max_length = 34 cuts the end off 1 of 16 answers, and 1 are left out because nothing of them remains; a larger"
        " max_length keeps them"
    ]


@pytest.mark.parametrize("adapter", [False, True])
def test_weights_that_are_no_numbers_are_not_published(store: ObjectStore, tmp_path: Path, adapter: bool) -> None:
    make(store, tmp_path)
    folder = tmp_path / "run" / ("adapter" if adapter else "merged")
    (file,) = folder.glob("*.safetensors")
    tensors = load_file(file)
    save_file({name: tensor * float("nan") for name, tensor in tensors.items()}, file, metadata={"format": "pt"})
    seal(folder)
    with pytest.raises(WrongCheckpoint, match="NaN"):
        make(store, tmp_path, publish={"name": "tuned", "adapter": adapter, "merged": not adapter})
    assert {name.partition("/")[0] for name in asyncio.run(names(store))} == {"tiny"}


async def names(store: ObjectStore) -> list[str]:
    return [name async for name in store.list("")]


async def stage(store: ObjectStore, manifest: Manifest, folder: Path) -> Path:
    return await Stager(store, folder / "staged", SystemClock(), TRUSTED).stage(manifest)


async def rewrite(store: ObjectStore, name: str, change: Callable[[bytes], bytes]) -> None:
    content, etag = await store.get(name)
    await store.put_if(name, change(content), etag)


def flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def unsigned(content: bytes) -> bytes:
    return json.dumps({**json.loads(content), "signature": None, "signer": None}).encode()


DAMAGES = {"a bit flipped": flipped, "unsigned": unsigned}


def test_transformers_still_has_the_private_method_that_reads_the_weights_of_a_finished_run() -> None:
    """fit.py calls it: there is no public way to load a checkpoint without training on."""
    from trl import DPOTrainer, KTOTrainer, SFTTrainer  # takes seconds of every process that collects tests

    first, *others = list(inspect.signature(SFTTrainer._load_from_checkpoint).parameters.values())[1:]
    assert first.name == "resume_from_checkpoint"
    assert all(other.default is not inspect.Parameter.empty for other in others)
    for trainer in (DPOTrainer, KTOTrainer):  # dpo.py and kto.py have their own
        assert "dataset" in inspect.signature(trainer._prepare_dataset).parameters
