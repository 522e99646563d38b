"""Results as Markdown between two marks of a page that is otherwise written by hand, with plots beside it."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from loadtests.simulator.measures import ClassMeasures, Measures
from loadtests.simulator.plots import plots
from loadtests.simulator.study import FLOODED, Study
from loadtests.simulator.verdict import goals, tenants_moved, ttft_p99
from loadtests.tables import number
from services.shared.settings import WrongSettings

BEGIN = "<!-- Written by `python -m loadtests.simulator run` from here. -->\n"
END = "<!-- Written by hand from here. -->\n"
IMAGES = "images"


def write(page: Path, study: Study) -> list[Path]:
    """Writes the results into a page, and the pictures into a folder beside it.

    Returns:
        The files that were written.

    Raises:
        WrongSettings: The page does not have the two marks.
    """
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise WrongSettings(f"--write = {page}: has no lines {BEGIN.strip()!r} and {END.strip()!r}")
    folder = page.parent / IMAGES
    folder.mkdir(exist_ok=True)
    drawn = plots(study)
    files = [folder / f"scheduling-{study.scenario.name}-{name}.png" for name in drawn]
    for file, png in zip(files, drawn.values(), strict=True):
        file.write_bytes(png)
    pictures = "\n".join(f"![{name}]({IMAGES}/{file.name})\n" for name, file in zip(drawn, files, strict=True))
    page.write_text(f"{before}{BEGIN}\n{text(study)}\n{pictures}\n{END}{after}")
    return [page, *files]


def text(study: Study) -> str:
    """The results as Markdown."""
    return "\n".join([_fleet(study), "", *_goals(study), "", *_loads(study), "", *_flood(study), ""])


def _fleet(study: Study) -> str:
    s = study.scenario
    return (
        f"Scenario `{s.name}`, seed {s.seed}: {s.workers} workers of {s.engine.max_running} sequences and"
        f" {s.engine.kv_tokens:,} KV tokens, {s.tenants} tenants,\n"
        f"{s.arrivals} arrivals for {s.duration_s:g} s ({s.warmup_s:g} s of them warm-up).\n"
        "Capacity, measured with placement `prefix` and more work than it could take:"
        f" **{study.capacity_per_s:.0f} requests/s**."
    )


def _goals(study: Study) -> Iterator[str]:
    yield from _head("goal", "measured", "met")
    for goal in goals(study):
        yield _row((goal.says, goal.found, "yes" if goal.met else "**no**"))


def _loads(study: Study) -> Iterator[str]:
    labels = list(study.scenario.classes)
    yield from _head(
        *(
            "load",
            "policy",
            "answered/s",
            "goodput/s",
            "prefix hits",
            "yields",
            "load max/mean p50 / p99",
            "above 1.25x",
        ),
        *(f"{label} TTFT p50 / p99 ms" for label in labels),
    )
    yield _row(_cells("unloaded", study.unloaded, labels))
    for load, by_policy in study.loads.items():
        for measures in by_policy.values():
            yield _row(_cells(f"{load:g}x", measures, labels))


def _cells(load: str, m: Measures, labels: Iterable[str]) -> Iterator[str]:
    balance = m.balance
    ratios = (balance.ratio_p50, balance.ratio_p99)
    yield from (
        load,
        f"`{m.policy}`",
        number(m.answered_per_s),
        number(m.good_per_s),
        f"{m.hit_rate:.0%}",
        str(m.yields),
    )
    yield " / ".join("-" if ratio is None else f"{ratio:.2f}" for ratio in ratios)
    yield f"{balance.share_above:.0%} of the time, {balance.longest_s:.1f} s at a stretch"
    yield from (_ttft(m.classes[label]) for label in labels)


def _ttft(found: ClassMeasures) -> str:
    """With the share that was answered, where that is not all."""
    if found.ttft_ms is None:
        return "none answered"
    answered = found.outcomes.get("ok", 0) / found.asked
    share = "" if answered == 1 else f" ({answered:.0%} answered)"
    return f"{number(found.ttft_ms.p50)} / {number(found.ttft_ms.p99)}{share}"


def _flood(study: Study) -> Iterator[str]:
    yield from _head(
        *("policy", f"default TTFT p99 ms at {FLOODED:g}x", "with the flood", "other tenants' p99: median", "worst"),
        *("their default requests answered",),
    )
    for policy, calm in study.calm.items():
        flooded = study.flooded[policy]
        moved = sorted(tenants_moved(study, policy))
        cells = (ttft_p99(calm, "default"), ttft_p99(flooded, "default"))
        ratios = (f"{moved[len(moved) // 2]:.2f}x", f"{moved[-1]:.2f}x")
        yield _row((f"`{policy}`", *map(number, cells), *ratios, f"{flooded.others_answered:.1%}"))


def _head(*names: str) -> Sequence[str]:
    return (_row(names), "|" + "---|" * len(names))


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
