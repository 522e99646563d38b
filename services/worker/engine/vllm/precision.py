"""The data type that `dtype: auto` means on the processor of this worker."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


def cpu_dtype(configured: str, folder: Path, processor: Mapping[str, Any]) -> str:
    """Returns the `dtype` for vLLM on a CPU.

    `auto` is what the model was saved with. A processor without bfloat16 instructions emulates them: on AVX2 a prompt
    takes seven times as long as in float32. There `auto` is float32, which needs twice the memory for the weights.

    Args:
        configured: `dtype` of the pool.
        folder: The checkpoint; its `config.json` names the data type of the weights.
        processor: `torch.cpu.get_capabilities()`.
    """
    if configured != "auto" or _has_bfloat16(processor) or _saved_dtype(folder) != "bfloat16":
        return configured
    log.info("this processor has no bfloat16 instructions: dtype auto is float32")
    return "float32"


def _has_bfloat16(processor: Mapping[str, Any]) -> bool:
    return processor.get("architecture") != "x86_64" or any(processor.get(f"{unit}_bf16") for unit in ("avx512", "amx"))


def _saved_dtype(folder: Path) -> str | None:
    document = json.loads((folder / "config.json").read_text())
    # transformers 4 wrote torch_dtype.
    saved = document.get("dtype", document.get("torch_dtype"))
    return saved if isinstance(saved, str) else None
