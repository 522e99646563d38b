"""Whether another version of the speculator can take the place of the one that vLLM drafts with, in place."""

from typing import Any

from vllm.v1.engine.async_llm import AsyncLLM

from services.shared.engine_settings import Speculation
from services.shared.staging import RefusedModel
from services.worker.engine.contract import Drafter, Model, SwapFailed
from services.worker.engine.tensors import shapes
from services.worker.engine.vllm.options import draft_tokens
from services.worker.engine.vllm.reload import DRAFT_TRIALS, no_swap
from services.worker.engine.vllm.swap_check import why_restart


def check_draft(
    llm: AsyncLLM, speculation: Speculation, model: Model, new: Drafter, arguments: dict[str, Any], device: str
) -> None:
    """Compares the manifests, settings and shapes of two draft models. Heads are never changed in place.

    Args:
        llm: The engine.
        speculation: The pool's.
        model: What the engine runs.
        new: The staged speculator.
        arguments: vLLM's arguments for a start.
        device: vLLM's name for the kind of device.

    Raises:
        RefusedModel: No start of vLLM could draft with it.
        SwapFailed: Only a start can take it up.
    """
    if (old := model.draft) is None:
        raise SwapFailed("this engine has no speculator of the registry", intact=True)
    runs = llm.vllm_config.speculative_config
    tokens = draft_tokens(speculation, Model(model.folder, model.manifest, new))
    reason = None
    if tokens != runs.num_speculative_tokens:
        reason = f"it drafts {tokens} tokens, this engine {runs.num_speculative_tokens}"
    if speculation.method != "draft_model":
        _readable(new)
        raise SwapFailed(reason or f"a speculator of method {speculation.method} does not change in place", intact=True)
    reason = reason or no_swap(old.manifest.architecture, runs.draft_model_config.quantization, device, DRAFT_TRIALS)
    plain = {name: value for name, value in arguments.items() if name != "speculative_config"}
    if reason := why_restart(_as_model(old), _as_model(new), plain, reason):
        raise SwapFailed(reason, intact=True)


def _readable(drafter: Drafter) -> None:
    try:
        shapes(drafter.folder)
    except Exception as error:  # noqa: BLE001 -- the libraries raise many kinds for what they cannot read
        raise RefusedModel(f"{drafter.manifest.model}: no engine can read it: {error}") from None


def _as_model(drafter: Drafter) -> Model:
    return Model(drafter.folder, drafter.manifest)
