"""What became of raw text, as people look at it."""

from rich.console import RenderableType
from rich.table import Table

from services.cli.views.output import build_table, titled
from services.cli.views.printable import printable
from trainer.preparing.report import Amount, Preparation

SHOWN = 70
"""Characters of an example."""


def preparation(report: Preparation, output: str) -> RenderableType:
    """Everything that `tidegate data prepare` shows."""
    tables = [("documents", _fates(report)), ("sources", _sources(report))]
    if report.dropped:
        tables.append(("examples of what was dropped", _examples(report)))
    return titled([*tables, ("shards", _shards(report, output))])


def _fates(report: Preparation) -> Table:
    rows = [("in", "", *_amount(report.read))]
    rows += [(drop.step, drop.reason, f"-{drop.documents:,}", f"-{drop.tokens:,}") for drop in report.dropped]
    if report.cleaned_tokens:
        rows.append(("cleaned", "parts of documents", "", f"{-report.cleaned_tokens:+,}"))
    rows.append(("out", "", *_amount(report.kept)))
    return build_table(("step", "reason", "documents", "tokens"), rows)


def _sources(report: Preparation) -> Table:
    rows = [
        (source.name, f"{source.weight:g}", *_amount(source.read), *_amount(source.kept)) for source in report.sources
    ]
    return build_table(("source", "weight", "in", "tokens", "out", "tokens"), rows)


def _examples(report: Preparation) -> Table:
    rows = [
        (drop.reason, printable(example.document), printable(example.text.replace("\n", " ")[:SHOWN]))
        for drop in report.dropped
        for example in drop.examples[:1]
    ]
    return build_table(("reason", "document", "text"), rows)


def _shards(report: Preparation, output: str) -> Table:
    facts = {"folder": output, "vocabulary": f"{report.vocab_size:,}"}
    facts |= {f"{kind} replaced": f"{count:,}" for kind, count in report.replaced.items()}
    if found := report.decontamination:
        facts["evaluation texts"] = f"{found['texts']:,}, of them too short to be found: {found['too_short']:,}"
    if report.files_left_out:
        facts["files left out"] = f"{report.files_left_out:,}"
    return build_table(("fact", "value"), facts.items())


def _amount(amount: Amount) -> tuple[str, str]:
    return f"{amount.documents:,}", f"{amount.tokens:,}"
