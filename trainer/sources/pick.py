"""Finding the source that a word on the command line means."""

from pathlib import Path

from trainer.sources import packaged, simulated
from trainer.sources.gguf import GgufFile
from trainer.sources.huggingface import HuggingFaceFolder
from trainer.sources.packaged import PackagedSmolLM2
from trainer.sources.simulated import SimulatedModel
from trainer.sources.source import Source, WrongSource

BUILT_IN = (packaged.NAME, simulated.NAME)
"""Sources that need no file."""


def pick(text: str) -> Source:
    """`simulated`, `simulated:SEED`, the packaged model's name, a folder, or a .gguf file. Raises WrongSource."""
    if text == packaged.NAME:
        return PackagedSmolLM2()
    word, _, seed = text.partition(":")
    if word == simulated.NAME:
        return SimulatedModel(_seed(seed)) if seed else SimulatedModel()
    path = Path(text)
    if path.is_dir():
        return HuggingFaceFolder(path)
    if path.is_file() and path.suffix == ".gguf":
        return GgufFile(path)
    raise WrongSource(
        f"{text!r} is no source of a model. It can be a folder with config.json and .safetensors files, a .gguf file, "
        f"{packaged.NAME} (packaged), or {simulated.NAME}[:SEED] (made up, for the simulated engine)"
    )


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise WrongSource(f"{simulated.NAME}:{text}: the seed must be a whole number")
    return int(text)
