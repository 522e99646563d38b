"""Which quantized models may change their weights in place: those whose reload answers as a fresh start does.

vLLM reorders quantized weights for its kernels, and a reload must do the same once more. Whether it does is known for
each kind of quantization and device only by trying: the tokens after a reload, and after the way back, are compared
with those of an engine that started on the same version.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trial:
    """One reload that was tried.

    Attributes:
        method: vLLM's name for the quantization.
        device: vLLM's name for the kind of device.
        exact: Whether all tokens were those of a fresh start.
        seen: What was tried, and what came of it.
    """

    method: str
    device: str
    exact: bool
    seen: str


TRIALS = (
    Trial(
        method="compressed-tensors",
        device="cpu",
        exact=False,
        seen="INT8 (W8A8) of SmolLM2 on AVX2, vLLM 0.32: all four answers were empty after the reload, and wrong after"
        " the way back",
    ),
)
"""Every method and device that is not here counts as not exact."""


def no_swap(method: str | None, device: str, trials: Iterable[Trial] = TRIALS) -> str | None:
    """Returns why the weights cannot change in place, or None when they can.

    Args:
        method: vLLM's name for the quantization that the engine runs; None means not quantized.
        device: vLLM's name for the kind of device.
        trials: What was tried.
    """
    tried = [trial.exact for trial in trials if (trial.method, trial.device) == (method, device)]
    if method is None or (tried and all(tried)):
        return None
    why = "does not answer" if tried else "is not proved to answer"
    return (
        f"its weights are quantized ({method}), and on this device ({device}) vLLM {why} as a fresh start does after "
        "they change in place: only workers that start on the version can serve it"
    )
