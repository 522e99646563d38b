"""Which models may change their weights in place: those whose reload answers as a fresh start does.

vLLM reorders weights for its kernels, and a reload must do the same once more. Whether it does is known for each
architecture, quantization and device only by trying: the tokens after a reload, and after the way back, are compared
with those of an engine that started on the same version. All other models are replaced: the worker starts again on the
version.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trial:
    """One reload that was tried.

    Attributes:
        architecture: Name of the model's class.
        method: vLLM's name for the quantization; None means not quantized.
        device: vLLM's name for the kind of device.
        exact: Whether all tokens were those of a fresh start.
        seen: What was tried, and what came of it.
    """

    architecture: str
    method: str | None
    device: str
    exact: bool
    seen: str


_DRILL = "tests/robustness/architectures, float32, vLLM 0.32: a tiny random model changed under eight streams, and back"

TRIALS = (
    Trial("LlamaForCausalLM", None, "cpu", exact=True, seen=_DRILL),
    Trial("Qwen2ForCausalLM", None, "cpu", exact=True, seen=_DRILL),
    Trial("Qwen3ForCausalLM", None, "cpu", exact=True, seen=_DRILL),
    Trial("Gemma2ForCausalLM", None, "cpu", exact=True, seen=_DRILL),
    Trial("Gemma3ForCausalLM", None, "cpu", exact=True, seen=_DRILL),
    Trial("MistralForCausalLM", None, "cpu", exact=True, seen=_DRILL),
    Trial(
        "LlamaForCausalLM",
        "compressed-tensors",
        "cpu",
        exact=False,
        seen="INT8 (W8A8) of SmolLM2 on AVX2, vLLM 0.32: all four answers were empty after the reload, and wrong after"
        " the way back",
    ),
    Trial(
        "Qwen3ForCausalLM",
        None,
        "cuda",
        exact=True,
        seen="vLLM's own test_reload_weights, on one and on two GPUs; not tried here",
    ),
)
"""Everything that is not here counts as not exact."""

DRAFT_TRIALS = (
    Trial(
        "LlamaForCausalLM",
        None,
        "cpu",
        exact=True,
        seen="tests/robustness/speculators, float32, vLLM 0.32: a draft model of two layers changed under eight"
        " streams; 27, 10 and 2 % of its tokens were accepted by position, as after a fresh start with it",
    ),
)
"""The same of draft models: whether as many of their tokens are accepted as after a fresh start."""


def no_swap(architecture: str, method: str | None, device: str, trials: Iterable[Trial] = TRIALS) -> str | None:
    """Returns why the weights cannot change in place, or None when they can.

    Args:
        architecture: Name of the model's class.
        method: vLLM's name for the quantization that the engine runs; None means not quantized.
        device: vLLM's name for the kind of device.
        trials: What was tried.
    """
    model = (architecture, method, device)
    tried = [trial.exact for trial in trials if (trial.architecture, trial.method, trial.device) == model]
    if tried and all(tried):
        return None
    what = f"{architecture}, quantized ({method})," if method else architecture
    why = "does not answer" if tried else "is not proved to answer"
    return (
        f"{what} on this device ({device}) {why} as a fresh start does after its weights change in place: only workers "
        "that start on the version can serve it"
    )
