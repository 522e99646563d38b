"""What the last step of a run cost: a small file that the run writes and the trainer reads."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

FIGURES = "figures.json"
"""In the folder of a run."""
_PEAK_TFLOPS = {"B200": 2250.0, "H200": 989.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "L4": 121.0, "A10": 125.0}
"""Dense bfloat16, as the maker says, by a part of the device's name; the longer name of two that fit counts."""


class StepFigures(BaseModel):
    """Figures of one step; None: not known.

    Attributes:
        learning_rate: Of the step.
        grad_norm: Norm of the gradient before it is clipped.
        tokens_per_second: Tokens that the step learnt, prompts among them.
        memory_bytes: Most that the process has taken so far, of the GPU or else of the machine.
        flops_per_second: By transformers' rule: six for each token and weight.
        device: Name of the GPU; None on a CPU.
        devices: How many compute.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    learning_rate: float | None = None
    grad_norm: float | None = None
    tokens_per_second: float | None = None
    memory_bytes: int | None = None
    flops_per_second: float | None = None
    device: str | None = None
    devices: int = 1

    def mfu(self, peak_tflops: float | None) -> float | None:
        """Model FLOPs utilization (Chowdhery et al., 2022): the part of the devices' peak that the model takes.

        Args:
            peak_tflops: Of one device; None: that of the device's name, if it is known.
        """
        peak = peak_tflops or known_peak(self.device)
        if peak is None or self.flops_per_second is None:
            return None
        return self.flops_per_second / (peak * 1e12 * self.devices)

    def write(self, run: Path) -> None:
        """Into the folder of a run, in one step."""
        draft = run / f"{FIGURES}.new"
        draft.write_text(self.model_dump_json())
        draft.replace(run / FIGURES)


def known_peak(device: str | None) -> float | None:
    """TFLOPS of a device by its name, dense bfloat16; None for one that is not known."""
    fitting = [name for name in _PEAK_TFLOPS if device and name in device.replace("-", " ").split()]
    return _PEAK_TFLOPS[max(fitting, key=len)] if fitting else None


def read(run: Path) -> StepFigures:
    """The last figures of the run in that folder; of none, nothing is known."""
    try:
        return StepFigures.model_validate_json((run / FIGURES).read_bytes())
    except (OSError, ValueError):
        return StepFigures()
