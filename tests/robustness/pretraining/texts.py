"""Texts that every checkout has, as two sources, and a tokenizer made of them."""

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

ROOT = Path(__file__).parents[3]
END, USER, ASSISTANT = "<|end|>", "<|user|>", "<|assistant|>"
TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
WEIGHTS = {"code.jsonl": 1.0, "prose.jsonl": 3.0}
_SOURCES = {"code": ("services", "*.py"), "prose": ("docs", "*.md")}


def write(folder: Path) -> Path:
    """A folder with a file for each source: a document a line."""
    folder.mkdir()
    for name, (part, pattern) in _SOURCES.items():
        documents = [file.read_text() for file in sorted((ROOT / part).rglob(pattern))]
        lines = [json.dumps({"text": text}) for text in documents if text.strip()]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    return folder


def make_tokenizer(texts: Path, folder: Path, vocab_size: int) -> Path:
    """A byte-level BPE tokenizer, saved as transformers saves one."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END, USER, ASSISTANT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    lines = (json.loads(line)["text"] for file in sorted(texts.iterdir()) for line in file.read_text().split("\n"))
    tokenizer.train_from_iterator(lines, trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END).save_pretrained(folder)
    return folder
