"""How the import of a model is shown where there is no terminal, as in the log of a Job."""

from io import StringIO

from rich.console import Console

from services.cli.views.import_progress import ImportLines, import_progress


def test_a_log_has_a_line_when_something_begins_and_every_ten_seconds() -> None:
    text, now = StringIO(), [0.0]
    lines = ImportLines(Console(file=text, width=20), monotonic=lambda: now[0])
    lines.preparing("tide[7b]")
    moved = lines.uploading(3_000_000_000)
    for second in range(1, 31):
        now[0] = float(second)
        moved(100_000_000)
    assert text.getvalue().splitlines() == [
        "preparing tide[7b]",
        "publishing: 3.0 GB",
        "publishing: 1.0 GB of 3.0 GB, 100.0 MB/s",
        "publishing: 2.0 GB of 3.0 GB, 100.0 MB/s",
        "publishing: 3.0 GB of 3.0 GB, 100.0 MB/s",
    ]


def test_only_a_terminal_has_a_bar() -> None:
    with import_progress(Console(file=StringIO())) as display:
        assert isinstance(display, ImportLines)
    with import_progress(Console(file=StringIO(), force_terminal=True)) as display:
        assert not isinstance(display, ImportLines)
