"""A LoRA adapter on disk: which folders may be published, and the manifest that describes one."""

import re
from pathlib import Path
from typing import Any

from services.shared.adapters import ADAPTER_FILES, ADAPTER_WEIGHTS, WrongAdapter, read_rank
from services.shared.manifests import Manifest, digest_of_files, make
from trainer.checkpoint import check_weights
from trainer.errors import WrongCheckpoint
from trainer.publish import Provenance, file_of

# Files that PEFT and others write beside an adapter. They are left out.
_LEFT_OUT = re.compile(r"\.(md|txt|json|jinja|model)$|^(LICENSE|\.)")
_CAN_RUN_CODE = re.compile(r"\.(bin|pt|pth|pkl|pickle|ckpt|msgpack|h5|py|pyc|so)$", re.IGNORECASE)
_LORA_TENSOR = re.compile(r"\.lora_([AB]\.weight|embedding_[AB])$")


def check_adapter(folder: Path) -> None:
    """Checks everything of an adapter that can be told without its base.

    Raises:
        WrongCheckpoint: A file can run code, is damaged, or asks for what engines do not apply.
    """
    for file in sorted(folder.iterdir()):
        if _CAN_RUN_CODE.search(file.name):
            raise WrongCheckpoint(
                f"{file.name} can run code when it is loaded: an adapter is {ADAPTER_WEIGHTS}. Save it as safetensors "
                "and leave this file out"
            )
        if file.name not in ADAPTER_FILES and not _LEFT_OUT.search(file.name):
            raise WrongCheckpoint(f"{file.name} does not belong to a LoRA adapter")
    try:
        read_rank(folder)
    except WrongAdapter as error:
        raise WrongCheckpoint(str(error)) from None
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise WrongCheckpoint(f"{ADAPTER_WEIGHTS} is missing")
    names = check_weights(folder / ADAPTER_WEIGHTS)
    if others := sorted(name for name in names if not _LORA_TENSOR.search(name)):
        raise WrongCheckpoint(f"{ADAPTER_WEIGHTS}: {others[0]} is no LoRA tensor; only those can be served")
    if not names:
        raise WrongCheckpoint(f"{ADAPTER_WEIGHTS} holds no tensor")


def adapter_manifest(
    name: str, paths: tuple[Path, ...], base: Manifest, provenance: Provenance, created: float
) -> Manifest:
    """Describes an adapter for `base`. Not signed yet."""
    files = tuple(file_of(path) for path in paths)
    facts: dict[str, Any] = base.model_dump(
        include={"architecture", "context_tokens", "vocab_size", "tokenizer_sha256"}
    )
    return make(
        model=name,
        kind="adapter",
        base=f"{base.model}@{base.version}",
        created=int(created),
        files=files,
        weights_sha256=digest_of_files(tuple(file for file in files if file.name.endswith(".safetensors"))),
        source=provenance.source,
        parent=provenance.parent,
        training_job=provenance.training_job,
        training=provenance.training,
        evaluation=dict(provenance.evaluation),
        golden=provenance.golden,
        report=provenance.report,
        publisher=provenance.publisher,
        **facts,
    )
