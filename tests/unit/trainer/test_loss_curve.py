from pathlib import Path

import pytest

from trainer.loss_curve import Curve, Diverged, read


def test_a_resumed_curve_forgets_what_is_made_again_and_what_was_cut_short(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    first = Curve(file, resumed_at=0)
    for step in (1, 2, 3):
        first.add({"step": step, "loss": 1.0})
    with file.open("a") as out:
        out.write('{"step": 4, "lo')
    Curve(file, resumed_at=2).add({"step": 3, "loss": 0.5})
    assert [(line["step"], line["loss"]) for line in read(file)] == [(1, 1.0), (2, 1.0), (3, 0.5)]


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path, loss: float) -> None:
    curve = Curve(tmp_path / "metrics.jsonl", resumed_at=0)
    with pytest.raises(Diverged, match="the loss of step 3 is"):
        curve.add({"step": 3, "loss": loss})
    assert read(tmp_path / "metrics.jsonl") == []
