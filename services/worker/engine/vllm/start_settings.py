"""The settings in a model's folder that vLLM reads only when it starts: a reload of the weights changes none of them.

They are in config.json and generation_config.json. Both are compared as transformers understands them, so that another
order of the keys, or a default value that is written out, is no difference.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vllm.transformers_utils.config import get_config, try_get_generation_config

CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"

_NO_EFFECT = frozenset(
    {
        "transformers_version",
        "use_cache",
        "output_attentions",
        "output_hidden_states",
        "initializer_range",
        "attention_dropout",
        "hidden_dropout",
        "resid_pdrop",
        "embd_pdrop",
        "attn_pdrop",
    }
)
"""Keys that say who wrote the file, or that only training reads. So are those that begin with `_`."""


def changed_setting(old: Path, new: Path) -> str | None:
    """Describes the first setting that differs between two models' folders; None when all are the same.

    Raises:
        OSError: A file is missing.
        ValueError: A file cannot be read.
    """
    for file, read in ((CONFIG, _config), (GENERATION_CONFIG, _generation_config)):
        if difference := _difference(read(old), read(new)):
            return f"{file}: {difference}"
    return None


def _config(folder: Path) -> Mapping[str, Any]:
    read: Mapping[str, Any] = get_config(str(folder), trust_remote_code=False).to_dict()
    return read


def _generation_config(folder: Path) -> Mapping[str, Any]:
    """What vLLM takes for it: without the file, what config.json says."""
    found = try_get_generation_config(str(folder), trust_remote_code=False)
    return {} if found is None else found.to_diff_dict()


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if before != after and name not in _NO_EFFECT and not name.startswith("_"):
            return f"{name} is {after!r}, this engine runs {before!r}"
    return None
