"""Bases as people have them: what would end a run at its end is refused before its first step, or handled."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from obstore.store import MemoryStore

from services.shared.objectstore import ObjectStore
from tests.integration.trainer import tiny
from tests.integration.trainer.test_run import Watcher, make
from trainer.data.sample import Conversation, Message
from trainer.data.wrong import WrongData
from trainer.errors import Unfit

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("default")]

CHAT = Conversation("chats:1", (Message("user", "what is the tide ?"), Message("assistant", "the moon .", learnt=True)))
GENERATION = {"do_sample": False, "temperature": 0.7, "eos_token_id": [3, 2]}
"""transformers loads it, and refuses to save it."""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny.model(tmp_path / "base")


def changed(file: Path, **values: object) -> None:
    document = {**json.loads(file.read_text()), **values} if file.exists() else values
    file.write_text(json.dumps({key: value for key, value in document.items() if value is not None}))


def test_settings_that_transformers_would_not_save_and_a_missing_padding_token_are_no_hindrance(
    base: Path, tmp_path: Path
) -> None:
    changed(base / "generation_config.json", **GENERATION)
    changed(base / "tokenizer_config.json", pad_token=None)
    store, watcher = ObjectStore(MemoryStore()), Watcher()
    asyncio.run(tiny.publish_base(store, base))
    make(store, tmp_path / "run", watcher, adapter=None, steps=2)
    assert watcher.notes == [
        "the base has no padding token: rows are filled with its eos_token, '</s>', which is masked"
    ]
    merged = tmp_path / "run/run/merged"
    for name in ("generation_config.json", "tokenizer_config.json"):
        assert (merged / name).read_bytes() == (base / name).read_bytes()
    tokens = [json.loads((folder / "config.json").read_text()) for folder in (base, merged)]
    assert [token["pad_token_id"] for token in tokens] == [0, 0]


def test_a_base_is_loaded_in_float32_whatever_the_computation_is_in(base: Path) -> None:
    from trainer.methods.base_model import model_of

    model = model_of(tiny.recipe("chats.jsonl", dtype="bfloat16"), base)
    assert {str(weights.dtype) for weights in model.parameters()} == {"torch.float32"}


def test_only_texts_are_learnt_without_a_chat_template(base: Path) -> None:
    from trainer.methods.base_model import tokenizer_of

    (base / "chat_template.jinja").unlink()
    recipe = tiny.recipe("chats.jsonl")
    assert tokenizer_of(recipe, base, for_chats=False).chat_template is None
    with pytest.raises(Unfit, match="it has no chat template"):
        tokenizer_of(recipe, base, for_chats=True)


@pytest.mark.parametrize(
    ("config", "recipe", "told"),
    [
        ({}, {"adapter": {"targets": ["q_prj"]}}, r"'q_prj' does not exist\. Those that can: .*q_proj.* or all-linear"),
        ({"tie_word_embeddings": True}, {"adapter": {"targets": ["embed_tokens"]}}, "the base ties embed_tokens"),
        ({"quantization_config": {"quant_method": "awq"}}, {}, r"quantized \(awq\)"),
    ],
)
def test_a_base_that_does_not_go_with_its_recipe_is_refused(
    base: Path, config: dict[str, object], recipe: dict[str, Any], told: str
) -> None:
    from trainer.methods.base_model import model_of

    changed(base / "config.json", **config)
    with pytest.raises(Unfit, match=told):
        model_of(tiny.recipe("chats.jsonl", **recipe), base)


TURNS = "{% for m in messages %}<s> {{ m.role }} {{ m.content }} </s> {% endfor %}"


@pytest.mark.parametrize(
    ("template", "told"),
    [
        (
            TURNS + "{% if add_generation_prompt %}<s> assistant blue {% endif %}",
            r"the prompt goes on with 'blue ', and with its answer it is 'the moon",
        ),
        ("{{ raise_exception('no such role') }}", "^chats:1: the base's chat template refuses the chat: no such role"),
    ],
)
def test_a_chat_template_that_does_not_go_with_the_chats_is_refused(base: Path, template: str, told: str) -> None:
    with pytest.raises(WrongData, match=told):
        rendered(base, template)


def test_an_answer_begins_where_a_server_would_begin_it(base: Path) -> None:
    """In the text, the answer would be one word with the end of the prompt; a server's prompt has ended there."""
    joined = "{% for m in messages %}{{ m.role }}{{ m.content }} {% endfor %}"
    example = rendered(base, joined + "{% if add_generation_prompt %}assistant{% endif %}")
    assistant, the, moon, stop = 17, 6, 9, 15
    assert example[0][-4:] == [assistant, the, moon, stop]
    assert example[1][-4:] == [-100, the, moon, stop]


def rendered(base: Path, template: str) -> tuple[list[int], list[int]]:
    from transformers import AutoTokenizer

    from trainer.examples import Renderer

    tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
    tokenizer.chat_template = template
    (example,) = Renderer(tokenizer, 64).examples([CHAT]).kept
    return example.input_ids, example.labels
