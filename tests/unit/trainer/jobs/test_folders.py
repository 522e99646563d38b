import os
from pathlib import Path

from trainer.jobs.folders import sweep


def test_ended_jobs_keep_their_results_and_only_the_latest_keep_anything(tmp_path: Path) -> None:
    for age, name in enumerate(("job-new", "job-old", "job-older", "job-running")):
        for part in ("run/checkpoints/checkpoint-2", "run/merged", "run/adapter"):
            (tmp_path / name / part).mkdir(parents=True)
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    (tmp_path / "base").mkdir()
    sweep(tmp_path, 2, lambda name: name != "job-running")
    assert {folder.name for folder in tmp_path.iterdir()} == {"job-new", "job-old", "job-running", "base"}
    assert [part.name for part in (tmp_path / "job-old/run").iterdir()] == ["adapter"]
    assert len(list((tmp_path / "job-running/run").iterdir())) == 3
    sweep(tmp_path, 0, lambda _: True)
    assert [folder.name for folder in tmp_path.iterdir()] == ["base"]
