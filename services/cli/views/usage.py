"""A usage report as a table."""

from typing import Any

from rich.table import Table

from services.cli.views.output import build_table

_FIGURES = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens")


def usage_table(report: dict[str, Any], groups: list[str]) -> Table:
    """One row for each line of the gateway's report, and one with the total.

    Args:
        report: The gateway's answer to /usage.
        groups: The columns that the report is grouped by, such as tenant and model.
    """
    total = {**dict.fromkeys(groups, ""), groups[0]: "total", **report["total"]}
    rows = [usage_row(line, groups) for line in (*report["data"], total)]
    return build_table((*groups, "requests", "prompt", "cached", "completion", report["currency"]), rows)


def usage_row(line: dict[str, Any], groups: list[str]) -> tuple[str, ...]:
    """The cells of one line."""
    names = (line[group][:12] if group == "version" else line[group] for group in groups)
    cost = "no price" if line["cost"] is None else f"{line['cost']:,.6f}".rstrip("0").rstrip(".")
    return (*names, *(f"{line[figure]:,}" for figure in _FIGURES), cost)
