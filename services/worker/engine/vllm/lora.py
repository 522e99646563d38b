"""LoRA adapters in vLLM: its arguments, the request that names an adapter, and loading one between two steps.

vLLM would load an unknown adapter inside a step, where a failure ends the whole engine. So every adapter is loaded here
first, and never more of them than vLLM has room for: then vLLM never loads or evicts one by itself.
"""

from typing import Any

from vllm.lora.request import LoRARequest
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from services.shared.config import Adapters
from services.worker.engine.contract import Adapter, AdapterRefused


def lora_arguments(adapters: Adapters | None) -> dict[str, Any]:
    """Returns the keyword arguments of AsyncEngineArgs for the adapters of a pool."""
    if adapters is None:
        return {}
    return {
        "enable_lora": True,
        "max_loras": adapters.max_loaded,
        "max_cpu_loras": adapters.max_loaded,
        "max_lora_rank": adapters.max_rank,
    }


def lora_request(adapter: Adapter | None) -> LoRARequest | None:
    """Names an adapter to vLLM; None for none.

    vLLM takes requests for equal when their names are equal, and keeps KV under name and path. So the name has the
    version: KV of one version is never used for another.
    """
    if adapter is None:
        return None
    return LoRARequest(f"{adapter.name}@{adapter.version}", adapter.number, str(adapter.folder))


async def add_lora(llm: AsyncLLM, adapter: Adapter) -> None:
    """Loads an adapter. What vLLM has kept of one that it rejects is removed.

    Raises:
        AdapterRefused: vLLM rejects it.
        EngineDeadError: vLLM's process has ended.
    """
    try:
        added = await llm.add_lora(lora_request(adapter))
    except EngineDeadError:
        raise
    except Exception as error:
        await llm.remove_lora(adapter.number)
        raise AdapterRefused(f"vLLM does not load it: {error}") from error
    if not added:
        raise AdapterRefused("vLLM does not load it")
