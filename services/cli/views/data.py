"""A data set as people look at it: counts, lengths, and samples with what is learnt."""

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from services.cli.views.output import build_table, titled
from services.cli.views.printable import printable
from trainer.data.inspection import Inspection, Lengths, Limited, Span
from trainer.data.report import Report

BAR = 40
"""Columns of the longest bar."""
MAX_SHOWN = 1200
"""Characters of a sample that are shown: the first and the last half of them."""
LEARNT = "bold green"


def inspection(found: Inspection) -> RenderableType:
    """Everything that `tidegate data inspect` shows."""
    tables = [("samples", _counts(found)), *_reasons(found.report), (_title(found), _histogram(found.lengths))]
    if found.limited:
        tables.append((f"at max_length = {found.limited.max_length:,}", _limited(found.limited)))
    heading = Text("the first samples, with what is learnt in ").append("green", LEARNT)
    shown = [part for spans in found.shown for part in (Text("-" * BAR, style="dim"), sample(spans))]
    return Group(titled(tables), "", heading, *shown)


def sample(spans: Sequence[Span]) -> Text:
    """A sample; what is learnt stands out, also without colours: between « and »."""
    whole = Text()
    for span in spans:
        text = printable(span.text)
        if span.learnt:
            end = "\n" if text.endswith("\n") else ""
            whole.append(f"«{text.removesuffix(chr(10))}»{end}", LEARNT)
        else:
            whole.append(text)
    whole.rstrip()
    if len(whole) > MAX_SHOWN:
        first, last = whole[: MAX_SHOWN // 2], whole[-MAX_SHOWN // 2 :]
        return Text.assemble(first, (f"\n[... {len(whole) - MAX_SHOWN:,} characters ...]\n", "dim"), last)
    return whole


def _counts(found: Inspection) -> Table:
    report = found.report
    forms = ", ".join(f"{form} ({count} files)" for form, count in report.forms.items())
    facts = {
        "form": forms or "-",
        "samples": f"{report.kept:,} {found.kind or ''}".strip(),
        "dropped": f"{report.dropped.total():,}",
        "files left out": f"{report.files_left_out:,}" if report.files_left_out else None,
    }
    return build_table(("fact", "value"), [(name, value) for name, value in facts.items() if value is not None])


def _reasons(report: Report) -> list[tuple[str, Table]]:
    firsts = report.first_dropped
    dropped = [(reason, f"{count:,}", firsts.get(reason, "-")) for reason, count in report.dropped.items()]
    kinds: tuple[tuple[str, Mapping[str, int]], ...] = (
        ("converted", report.converted),
        ("fields that are not read", report.kept_out),
    )
    tables = [("dropped", build_table(("reason", "samples", "first"), dropped))] if dropped else []
    for title, counts in kinds:
        if counts:
            rows = [(name, f"{count:,}") for name, count in sorted(counts.items())]
            tables.append((title, build_table(("what", "samples"), rows)))
    return tables


def _title(found: Inspection) -> str:
    if found.unit == "tokens":
        return "lengths in tokens"
    return f"lengths in {found.unit}; --tokenizer shows them in tokens, and what a limit would cut"


def _histogram(lengths: Lengths) -> Table:
    most = max(lengths.buckets.values(), default=1)
    rows = [
        (f"{low:,} to {high:,}", f"{count:,}", "█" * max(round(BAR * count / most), int(count > 0)))
        for low, high, count in lengths.histogram()
    ]
    return build_table(("length", "sequences", ""), [*rows, ("longest", f"{lengths.longest:,}", "")])


def _limited(limited: Limited) -> Table:
    rows = (
        ("learnt as they are", limited.whole),
        ("their end is cut off", limited.cut),
        ("dropped: nothing of the answer is left", limited.dropped),
    )
    return build_table(("sequences", "count"), [(name, f"{count:,}") for name, count in rows])
