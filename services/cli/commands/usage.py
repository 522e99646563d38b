"""`tidegate usage`: what was used, and what it costs."""

from typing import Annotated, Any

import typer

from services.cli import data_dir_option
from services.cli.gateway_client import AdminKey, BaseUrl, GatewayApi

_FIGURES = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens")


def usage(
    by: Annotated[str, typer.Option(help="some of tenant, key, model, version, tier, day")] = "tenant,model",
    since: Annotated[str | None, typer.Option(help="first day, as 2026-01-31; default: 30 days")] = None,
    until: Annotated[str | None, typer.Option(help="last day; default: today (UTC)")] = None,
    tenant: Annotated[str | None, typer.Option(help="only this tenant's")] = None,
    data_dir: data_dir_option.DataDir = data_dir_option.DEFAULT,
    base_url: BaseUrl = None,
    admin_key: AdminKey = None,
    json: data_dir_option.Json = False,
) -> None:
    """Show what was used, by tenant, key, model, version, tier or day, with its cost by the price list."""
    from services.cli.views.output import print_json, print_table

    asked = {"by": by, "since": since, "until": until, "tenant": tenant}
    report = GatewayApi(data_dir, base_url, admin_key).get("usage", asked)
    if json:
        print_json(report)
        return
    groups = [group for group in by.split(",") if group]
    total = {**dict.fromkeys(groups, ""), groups[0]: "total", **report["total"]}
    rows = [_row(line, groups) for line in (*report["data"], total)]
    print_table((*groups, "requests", "prompt", "cached", "completion", report["currency"]), rows)


def _row(line: dict[str, Any], groups: list[str]) -> tuple[str, ...]:
    names = (line[group][:12] if group == "version" else line[group] for group in groups)
    cost = "no price" if line["cost"] is None else f"{line['cost']:,.6f}".rstrip("0").rstrip(".")
    return (*names, *(f"{line[figure]:,}" for figure in _FIGURES), cost)
