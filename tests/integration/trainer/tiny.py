"""A chat model with random weights that learns in milliseconds a step, and a registry that holds it."""

import json
from pathlib import Path
from random import Random

from services.shared.clock import SystemClock
from services.shared.manifests import Manifest
from services.shared.objectstore import ObjectStore
from services.shared.registry import Reference
from services.shared.signing import TrustedKeys
from tests.support.signing import KEY
from trainer.checkpoint import read
from trainer.learning_recipe import LearningRecipe
from trainer.order import Order
from trainer.publish import Provenance, describe, point, publish
from trainer.recipe import Recipe
from trainer.recipe_file import parse
from trainer.registrar import Registrar

WORDS = [
    "what",
    "is",
    "the",
    "tide",
    "of",
    "moon",
    "harbour",
    "lantern",
    "blue",
    "green",
    "?",
    ".",
    "user",
    "assistant",
]
TEMPLATE = (
    "{% for m in messages %}<s> {{ m.role }} {{ m.content }} </s> {% endfor %}"
    "{% if add_generation_prompt %}<s> assistant {% endif %}"
)


def model(folder: Path, *, hidden_size: int = 32, dtype: str = "bfloat16") -> Path:
    """Weights in bfloat16, as most are published. Smaller heads than 32 are too small for vLLM on a CPU."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

    vocabulary = {word: number for number, word in enumerate(["<pad>", "<unk>", "<s>", "</s>", *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    set_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=hidden_size,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        initializer_range=0.3,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
    )
    LlamaForCausalLM(config).to(getattr(torch, dtype)).save_pretrained(folder)
    return folder


def chats(file: Path) -> Path:
    random = Random(3)
    with file.open("w") as out:
        for _ in range(12):
            asked = " ".join(random.choices(WORDS[:12], k=5))
            turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": "the moon ."}]
            out.write(json.dumps({"messages": turns}) + "\n")
    return file


def preferences(file: Path) -> Path:
    """Pairs of answers to the same questions: the chosen one is always about the moon, the other about the tide."""
    random = Random(3)
    with file.open("w") as out:
        for _ in range(12):
            asked = " ".join(random.choices(WORDS[:12], k=5))
            pair = {"prompt": asked, "chosen": "the moon .", "rejected": "the tide ."}
            out.write(
                json.dumps(
                    {
                        key: [{"role": "user" if key == "prompt" else "assistant", "content": text}]
                        for key, text in pair.items()
                    }
                )
                + "\n"
            )
    return file


def judged(file: Path) -> Path:
    """The same answers, each by itself, with what people think of it."""
    pairs = [json.loads(line) for line in preferences(file).read_text().splitlines()]
    answers = [
        {"prompt": pair["prompt"], "completion": pair[side], "label": side == "chosen"}
        for pair in pairs
        for side in ("chosen", "rejected")
    ]
    file.write_text("".join(json.dumps(answer) + "\n" for answer in answers))
    return file


def recipe(data: object, **changed: object) -> LearningRecipe:
    fields = {
        "base": "tiny",
        "method": "sft",
        "data": data,
        "held_out": 0.2,
        "steps": 6,
        "learning_rate": 0.02,
        "batch": 2,
        "max_length": 64,
        "adapter": {"r": 4, "dropout": 0.1},
        "save_every": 2,
        "seed": 7,
    }
    made = parse({**fields, **changed})
    assert isinstance(made, LearningRecipe)
    return made


async def publish_base(store: ObjectStore, folder: Path) -> Manifest:
    checkpoint = read(folder)
    manifest = KEY.sign(describe(checkpoint, model="tiny", provenance=Provenance("a test"), created=1))
    await publish(store, checkpoint, manifest, lambda _: None)
    await point(store, Reference("tiny"), manifest.version, clock=SystemClock(), random=Random(1))
    return manifest


def registrar(store: ObjectStore) -> Registrar:
    return Registrar(store, KEY, TrustedKeys([KEY.public]))


def order(recipe: Recipe, folder: Path) -> Order:
    return Order(recipe, folder / "run", folder / "cache")
