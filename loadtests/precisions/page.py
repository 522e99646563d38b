"""The study as Markdown, and in a page between two marks, with its plot beside it."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from loadtests.precisions.plots import plot
from loadtests.precisions.study import Row, Study
from loadtests.tables import number
from services.shared.settings import WrongSettings

BEGIN = "<!-- Written by `python -m loadtests precisions` from here. -->\n"
END = "<!-- Written by hand from here. -->\n"
PICTURE = Path("images/precisions.png")
HEAD = (
    "weights",
    "engine",
    "tokens/s",
    "TTFT p50 / p99 ms",
    "TPOT p50 ms",
    "peak memory MiB",
    "held-out loss",
    "load of the machine",
)
_MIB = 1 << 20


def text(study: Study) -> str:
    """The study as Markdown."""
    return "\n".join([*_about(study), "", *table(study)])


def table(study: Study) -> Iterator[str]:
    """A row for each model, and a line below for each that does not run."""
    yield _row(HEAD)
    yield "|" + "---|" * len(HEAD)
    for row in study.rows:
        yield _row(_cells(row))
    for row in study.rows:
        if row.reason:
            yield f"\n`{row.name}` does not run here: `{row.reason}`"


def write(page: Path, study: Study) -> list[Path]:
    """Writes the study into a page, and its plot into a folder beside it.

    Args:
        page: A file that `check` has found good.
        study: The study.

    Returns:
        The files that were written.
    """
    before, _, rest = page.read_text().partition(BEGIN)
    picture = page.parent / PICTURE
    picture.parent.mkdir(exist_ok=True)
    picture.write_bytes(plot(study))
    shown = f"![Tokens per second, time to first token, memory and loss by precision]({PICTURE})"
    page.write_text(f"{before}{BEGIN}{text(study)}\n\n{shown}\n{END}{rest.partition(END)[2]}")
    return [page, picture]


def check(page: Path) -> None:
    """Checks that the study can be written into a page, before anything is measured.

    Raises:
        WrongSettings: The page cannot be read, or does not have the two marks.
    """
    try:
        _, begin, rest = page.read_text().partition(BEGIN)
    except OSError as error:
        raise WrongSettings(f"--write = {page}: {error}") from None
    if not begin or END not in rest:
        raise WrongSettings(f"--write = {page}: has no lines {BEGIN.strip()!r} and {END.strip()!r}")


def _about(study: Study) -> Iterator[str]:
    profile = study.profile
    tokens = next((row.measured.held_out_tokens for row in study.rows if row.measured), None)
    yield (
        f"{study.started_at[:10]}, {study.cores} cores, {study.memory_bytes / (1 << 30):.0f} GiB; load "
        f"`{profile.name}`, seed {profile.seed}, for {profile.duration_s:g} s"
        + (f"; held-out loss in nats a token, of {tokens} tokens:" if tokens else ":")
    )


def _cells(row: Row) -> Iterator[str]:
    yield row.name
    yield ", ".join(f"`{key}: {value}`" for key, value in row.engine.items()) or "as it comes"
    if not (found := row.measured):
        yield "does not run"
        yield from ("-" for _ in HEAD[3:])
        return
    ttft, tpot = found.total.ttft_ms, found.total.tpot_ms
    yield number(found.total.output_tokens_per_s)
    yield f"{number(ttft.p50)} / {number(ttft.p99)}" if ttft else "-"
    yield number(tpot.p50) if tpot else "-"
    yield number(found.peak_bytes / _MIB)
    yield f"{found.held_out_loss:.4f}"
    yield f"{found.machine_load:.1f}"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
