"""Finding the source that a word on the command line means."""

from pathlib import Path

from trainer.sources import hub, packaged, remote_gguf, s3, simulated
from trainer.sources.gguf import GgufFile
from trainer.sources.hub import HubRepository
from trainer.sources.huggingface import HuggingFaceFolder
from trainer.sources.packaged import PackagedSmolLM2
from trainer.sources.remote_gguf import RemoteGguf
from trainer.sources.s3 import S3Prefix
from trainer.sources.simulated import SimulatedModel
from trainer.sources.source import RemoteSource, Source, WrongSource, model_name

BUILT_IN = (packaged.NAME, simulated.NAME)
"""Sources that need no file."""


def pick(text: str) -> Source | RemoteSource | RemoteGguf:
    """hf://organisation/name[@revision], s3://bucket/prefix, one GGUF file of them, or what `pick_local` takes.

    Raises WrongSource.
    """
    return _remote(text) or pick_local(text)


def pick_local(text: str) -> Source:
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
        f"{text!r} is no source of a model. It can be hf://organisation/name (hub), s3://bucket/prefix, one .gguf file "
        f"of either, a folder with config.json and .safetensors files, a .gguf file, {packaged.NAME} (packaged), or "
        f"{simulated.NAME}[:SEED] (made up, for the simulated engine)"
    )


def _remote(text: str) -> RemoteSource | RemoteGguf | None:
    if text.startswith(hub.SCHEME):
        if named := HubRepository.parse_file(text):
            return RemoteGguf(_gguf_name(*named), *named)
        repository = HubRepository.parse(text)
        return RemoteSource(model_name(repository.repository.rpartition("/")[2]), repository)
    if text.startswith(s3.SCHEME):
        prefix = S3Prefix.parse(text)
        if text.endswith(remote_gguf.SUFFIX):
            return RemoteGguf(model_name(Path(prefix.last_name).stem), prefix.parent, prefix.last_name)
        return RemoteSource(model_name(prefix.last_name), prefix)
    return None


def _gguf_name(repository: HubRepository, wanted: str) -> str:
    """The name of the file; that of the repository with the quantization is often the same."""
    if wanted.endswith(remote_gguf.SUFFIX):
        return model_name(Path(wanted).stem)
    _, _, name = repository.repository.lower().rpartition("/")
    return model_name(f"{name.removesuffix('-gguf')}-{wanted}")


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise WrongSource(f"{simulated.NAME}:{text}: the seed must be a whole number")
    return int(text)
