"""API keys and tenants as tables."""

from datetime import UTC, datetime
from typing import Any

from rich.table import Table

from services.cli.views.output import build_table

_COLUMNS = ("id", "name", "tenant", "key", "role", "models", "tiers", "limits", "budget", "state")


def key_table(keys: list[dict[str, Any]]) -> Table:
    """One row for each key, as the gateway describes it."""
    return build_table(_COLUMNS, [key_row(key) for key in keys])


def tenant_table(tenants: list[dict[str, Any]]) -> Table:
    """One row for each tenant, as the gateway describes it."""
    rows = [(tenant["name"], f"{tenant['weight']:g}", " ".join(tenant["tiers"])) for tenant in tenants]
    return build_table(("tenant", "weight", "tiers"), rows)


def key_row(key: dict[str, Any]) -> tuple[str, ...]:
    """The cells of one key."""
    budget = key["budget"]
    return (
        key["id"],
        key["name"],
        key["tenant"],
        f"{key['prefix']}...",
        key["role"],
        " ".join(key["models"] or ["all"]),
        " ".join(key["tiers"] or ["all"]),
        _limits(key),
        f"{budget['tokens']:,} a {budget['period']}" if budget else "-",
        _state(key),
    )


def _limits(key: dict[str, Any]) -> str:
    named = (("requests_per_minute", "req/min"), ("tokens_per_minute", "tok/min"), ("concurrency", "at once"))
    return ", ".join(f"{key[name]:,} {unit}" for name, unit in named if key[name]) or "-"


def _state(key: dict[str, Any]) -> str:
    if key["revoked_at"]:
        return f"revoked {_day(key['revoked_at'])}"
    if not key["expires_at"]:
        return "good"
    word = "expired" if key["expires_at"] <= datetime.now(UTC).timestamp() else "until"
    return f"{word} {_day(key['expires_at'])}"


def _day(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"
