"""Loads weights while vLLM is paused, so that no step sees half of them.

KV of other weights is never found: the cache salt of a request has the versions of the model and of the speculator
(request.py).
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from vllm.platforms import current_platform
from vllm.v1.engine.async_llm import AsyncLLM


async def reload_model(llm: AsyncLLM, folder: Path, *, nodes: int, forget: bool) -> None:
    """Loads the weights of the model; empties the prefix cache if asked to.

    That includes KV in main memory (`kv_offload_gib`); without any, reset_connector does nothing. Several nodes have
    the version in a folder of the same name, each in its own place.
    """
    async with _paused(llm):
        if nodes > 1:
            await llm.collective_rpc("reload_beside", args=(folder.name,))
        else:
            await llm.collective_rpc("reload_weights", kwargs={"weights_path": str(folder)})
        if current_platform.is_cpu():
            await llm.collective_rpc("repack_output_layers")
        if forget and not await llm.reset_prefix_cache(reset_running_requests=True, reset_connector=True):
            raise RuntimeError("the prefix cache was not dropped")


async def reload_draft(llm: AsyncLLM, folder: Path) -> None:
    """Loads the weights of the draft model. Requests that run keep their KV, also that of the old draft model."""
    async with _paused(llm):
        await llm.collective_rpc("reload_draft", args=(folder.name,))


@asynccontextmanager
async def _paused(llm: AsyncLLM) -> AsyncIterator[None]:
    await llm.pause_generation(mode="keep", clear_cache=False)
    try:
        yield
    finally:
        await llm.resume_generation()
