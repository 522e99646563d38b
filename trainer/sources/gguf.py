"""A GGUF file, dequantized to bfloat16 safetensors."""

import os
from dataclasses import dataclass
from pathlib import Path

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
    """Writes weights, config, tokenizer and chat template. Seconds and twice the model's size in memory."""
    # The conversion draws its own bar over the caller's; it only reads this switch when it is imported.
    os.environ.setdefault("TQDM_DISABLE", "1")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    place = {"gguf_file": gguf.name, "local_files_only": True}
    try:
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16, **place
        )
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **place)
    except (ValueError, OSError, KeyError, NotImplementedError) as error:
        raise WrongSource(f"{gguf.name} cannot be converted: {error}") from error
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
