"""Arguments of vLLM that are chosen for a CPU."""

import os
from typing import Any

import torch
from vllm.platforms import current_platform

from services.shared.engine_settings import VllmEngine
from services.worker.engine.contract import Model
from services.worker.engine.vllm.executor import cpu_executor
from services.worker.engine.vllm.precision import cpu_dtype


def cpu_arguments(config: VllmEngine, model: Model) -> dict[str, Any]:
    """Returns keyword arguments of AsyncEngineArgs that replace others; none where vLLM does not run on a CPU."""
    if not current_platform.is_cpu():
        return {}
    chosen: dict[str, Any] = {"dtype": cpu_dtype(config.dtype, model.folder, torch.cpu.get_capabilities())}
    if executor := cpu_executor(config.ranks, os.environ):
        chosen["distributed_executor_backend"] = executor
    return chosen
