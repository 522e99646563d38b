"""A reward model of a few thousand weights is trained from preference pairs and published."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from obstore.store import MemoryStore

from services.shared.clock import SystemClock
from services.shared.objectstore import ObjectStore
from services.shared.registry import Reference, Registry
from services.shared.staging import Stager
from tests.integration.trainer import tiny
from tests.integration.trainer.test_run import make
from tests.support.signing import TRUSTED
from trainer.errors import Unfit

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("default")]
REWARD: dict[str, Any] = {"method": "reward", "adapter": None, "batch": 4, "learning_rate": 0.003}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def store(base: Path) -> ObjectStore:
    store = ObjectStore(MemoryStore())
    asyncio.run(tiny.publish_base(store, base))
    return store


def test_a_reward_model_gives_the_chosen_answer_more_and_can_be_trained_further(
    store: ObjectStore, tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    data = tiny.preferences(tmp_path / "pairs.jsonl")
    outcome = make(store, tmp_path / "first", data=data, steps=12, publish={"name": "judge"}, **REWARD)
    assert outcome.figures == {"held_out_accuracy": 1.0}
    (manifest,) = outcome.published
    parent = asyncio.run(Registry(store).resolve(Reference("tiny")))
    assert manifest.source == f"reward model trained from tiny@{parent.version[:12]}"
    assert (manifest.parent, manifest.architecture, manifest.golden) == (
        parent.version,
        "LlamaForSequenceClassification",
        (),
    )
    assert manifest.evaluation == {"held_out_loss": outcome.loss, "held_out_accuracy": 1.0}

    folder = asyncio.run(Stager(store, tmp_path / "staged", SystemClock(), TRUSTED).stage(manifest))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    assert (model.config.num_labels, model.config.pad_token_id) == (1, 0)
    for line in data.read_text().splitlines():
        pair = json.loads(line)
        chats = [pair["prompt"] + pair[side] for side in ("chosen", "rejected")]
        texts = [tokenizer.apply_chat_template(chat, tokenize=False) for chat in chats]
        # Of different lengths, so that one is padded: the number is that of its last real token.
        texts[1] = texts[1].replace("tide .", "tide . .")
        rows = tokenizer(texts, add_special_tokens=False, padding=True, padding_side="right", return_tensors="pt")
        with torch.inference_mode():
            chosen, rejected = model(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"]).logits
        assert chosen.item() > rejected.item()

    with pytest.raises(Unfit, match=r"base = 'judge': it is a reward model \(LlamaForSequenceClassification\)"):
        make(store, tmp_path / "chat", base="judge")
    further = make(store, tmp_path / "further", base="judge", data=data, steps=1, **REWARD)
    assert further.held_out_before == pytest.approx(outcome.held_out_after, rel=0.05), "its head is kept, in bfloat16"


def test_a_pair_of_which_a_side_goes_beyond_the_limit_is_dropped(store: ObjectStore, tmp_path: Path) -> None:
    """A reward is that of the last token, which a cut answer has lost."""
    data = tiny.preferences(tmp_path / "pairs.jsonl")
    pair = json.loads(data.read_text().splitlines()[0])
    pair["rejected"][0]["content"] = "the tide . " * 10
    data.write_text(data.read_text() + json.dumps(pair) + "\n")
    outcome = make(store, tmp_path / "run", data=data, steps=1, max_length=30, **REWARD)
    assert (outcome.counts.cut, outcome.counts.dropped) == (0, 1)
    assert outcome.counts.learnt + outcome.counts.held_out == 12


def test_the_head_cannot_have_an_adapter_since_all_of_it_learns(store: ObjectStore, tmp_path: Path) -> None:
    data = tiny.preferences(tmp_path / "pairs.jsonl")
    wanted = {**REWARD, "adapter": {"targets": ["q_proj", "score"]}}
    with pytest.raises(Unfit, match=r"score is the new head of the reward model"):
        make(store, tmp_path / "run", data=data, **wanted)
