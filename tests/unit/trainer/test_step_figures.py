"""What a step costs, and where it is told."""

from pathlib import Path

import pytest

from trainer import reporters
from trainer.errors import Unfit
from trainer.step_figures import FIGURES, StepFigures, known_peak, read


@pytest.mark.parametrize(
    ("device", "peak"),
    [("NVIDIA H200", 989.0), ("NVIDIA A100-SXM4-80GB", 312.0), ("NVIDIA L40S", 362.0), ("NVIDIA L4", 121.0)],
)
def test_the_peak_of_a_known_device(device: str, peak: float) -> None:
    assert known_peak(device) == peak
    figures = StepFigures(flops_per_second=peak * 1e12, device=device, devices=2)
    assert (figures.mfu(None), figures.mfu(peak * 2)) == (0.5, 0.25)


def test_without_a_known_peak_there_is_no_mfu() -> None:
    assert StepFigures(flops_per_second=1e12, device="NVIDIA T1000").mfu(None) is None
    assert StepFigures(flops_per_second=1e12).mfu(None) is None
    assert StepFigures(device="NVIDIA H100").mfu(None) is None


def test_figures_are_read_as_they_were_written_and_damage_is_no_figure(tmp_path: Path) -> None:
    assert read(tmp_path) == StepFigures()
    figures = StepFigures(learning_rate=0.1, memory_bytes=1)
    figures.write(tmp_path)
    assert read(tmp_path) == figures
    (tmp_path / FIGURES).write_text('{"learning_rate"')
    assert read(tmp_path) == StepFigures()


def test_a_reporter_whose_package_is_missing_is_told_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(Unfit, match=r"report_to: wandb needs the package wandb, which is not installed here"):
        reporters.prepare(("tensorboard", "wandb"), tmp_path, {}, is_installed=lambda package: package != "wandb")


def test_tensorboard_writes_into_the_run_unless_the_environment_names_a_place(tmp_path: Path) -> None:
    own: dict[str, str] = {}
    named = {"TENSORBOARD_LOGGING_DIR": "/elsewhere"}
    for environ in (own, named):
        reporters.prepare(("tensorboard",), tmp_path, environ, is_installed=lambda _: True)
    assert own == {"TENSORBOARD_LOGGING_DIR": str(tmp_path / "tensorboard")}
    assert named == {"TENSORBOARD_LOGGING_DIR": "/elsewhere"}
