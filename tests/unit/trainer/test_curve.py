from pathlib import Path

from trainer.curve import Curve, read


def test_a_resumed_curve_forgets_what_is_made_again_and_what_was_cut_short(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    first = Curve(file, resumed_at=0)
    for step in (1, 2, 3):
        first.add({"step": step, "loss": 1.0})
    with file.open("a") as out:
        out.write('{"step": 4, "lo')
    Curve(file, resumed_at=2).add({"step": 3, "loss": 0.5})
    assert [(line["step"], line["loss"]) for line in read(file)] == [(1, 1.0), (2, 1.0), (3, 0.5)]
