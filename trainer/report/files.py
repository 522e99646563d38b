"""The files of a report, in the folder of its run and beside a manifest."""

import json
from pathlib import Path

from services.shared.manifests import File
from trainer.publish import file_of
from trainer.report.document import Facts, document
from trainer.report.page import page
from trainer.report.plots import plots

REPORT = "report"
"""Folder of a run."""
PAGE, DOCUMENT = "report.html", "report.json"


def write(run: Path, facts: Facts) -> Path:
    """Writes the report of a run.

    Args:
        run: Its folder.
        facts: What it says.

    Returns:
        The page.
    """
    folder = run / REPORT
    folder.mkdir(parents=True, exist_ok=True)
    told = document(facts)
    (folder / DOCUMENT).write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / PAGE).write_text(page(told, plots(facts.curve)), encoding="utf-8")
    return folder / PAGE


def files(run: Path) -> tuple[File, ...]:
    """The report's files as a manifest names them; none where there is no report."""
    folder = run / REPORT
    return tuple(file_of(folder / name, name) for name in (PAGE, DOCUMENT) if (folder / name).is_file())
