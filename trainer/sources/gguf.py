"""A GGUF file, dequantized to bfloat16 safetensors."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from trainer.sources.source import WrongSource, model_name


@dataclass(frozen=True, slots=True)
class GgufFile:
    """A source of one GGUF file."""

    path: Path

    @property
    def name(self) -> str:
        """See Source."""
        return model_name(self.path.stem)

    @property
    def origin(self) -> str:
        """See Source."""
        return f"GGUF file {self.path.name}"

    def prepare(self, scratch: Path) -> Path:
        """Converts the file into `scratch`."""
        convert(self.path, scratch)
        return scratch


def convert(gguf: Path, folder: Path) -> None:
    """Writes weights, config, tokenizer and chat template. Seconds and twice the model's size in memory.

    Raises:
        WrongSource: It is no GGUF file, or none that Transformers knows; or the disk is full.
    """
    # The conversion draws its own bar over the caller's; it only reads this switch when it is imported.
    os.environ.setdefault("TQDM_DISABLE", "1")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    place = {"gguf_file": gguf.name, "local_files_only": True}
    try:
        with read_once():
            model = AutoModelForCausalLM.from_pretrained(
                gguf.parent, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16, **place
            )
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **place)
    except Exception as error:  # of every kind: the libraries do not check what they read
        raise WrongSource(f"{gguf.name} cannot be converted: {type(error).__name__}: {error}") from error
    save(model, tokenizer, folder)


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Writes what was converted. Raises WrongSource when the disk is full."""
    from safetensors import SafetensorError

    try:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    except (OSError, SafetensorError) as error:
        raise WrongSource(
            f"the converted model cannot be written: {error}. Set TMPDIR to a disk with room for the model in bfloat16"
        ) from error


@contextmanager
def read_once() -> Iterator[None]:
    """Meanwhile the library remembers what it has read of a file, and its tables of tensor names.

    Transformers 5.19 reads the file three times, and builds a table of names for every module of the model: more than
    half of the work. Both only depend on what they are given, and the reader is never changed.
    """
    import gguf

    names = ("GGUFReader", "get_tensor_name_map")
    before = {name: getattr(gguf, name) for name in names}
    try:
        for name, function in before.items():
            setattr(gguf, name, cache(function))
        yield
    finally:
        for name, function in before.items():
            setattr(gguf, name, function)
