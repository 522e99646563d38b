"""`tidegate usage`: what was used, and what it costs."""

from typing import Annotated

import typer

from services.cli.options import DEFAULT_DATA_DIR, AdminKey, BaseUrl, DataDir, Json


def usage(
    by: Annotated[
        str, typer.Option(help="columns to group by, with commas between: tenant, key, model, version, tier, day")
    ] = "tenant,model",
    since: Annotated[str | None, typer.Option(help="first day, such as 2026-01-31; default: 30 days ago")] = None,
    until: Annotated[str | None, typer.Option(help="last day; default: today (UTC)")] = None,
    tenant: Annotated[str | None, typer.Option(help="only this tenant")] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    base_url: BaseUrl = None,
    admin_key: AdminKey = None,
    json: Json = False,
) -> None:
    """Show used tokens and their cost by the price list, grouped by tenant, key, model, version, tier or day."""
    from services.cli.clients.gateway import GatewayApi
    from services.cli.views.output import print_json, print_wide
    from services.cli.views.usage import usage_table

    query = {"by": by, "since": since, "until": until, "tenant": tenant}
    report = GatewayApi(data_dir, base_url, admin_key).get("usage", query)
    if json:
        print_json(report)
    else:
        print_wide(usage_table(report, [group for group in by.split(",") if group]))
