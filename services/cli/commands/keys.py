"""`tidegate keys`: who may use the cluster, and how much."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import typer

from services.cli import data_dir_option
from services.cli.errors import WRONG_USE, CommandFailed
from services.cli.gateway_client import AdminKey, BaseUrl, GatewayApi

app = typer.Typer(help="Who may use the cluster, and how much.", no_args_is_help=True)

Period = Literal["day", "month"]
Role = Literal["inference", "admin"]
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="what the key is for")],
    tenant: Annotated[str, typer.Option(help="whose it is; see `tidegate keys tenant`")] = "default",
    role: Annotated[Role, typer.Option(help="admin keys may hand out keys")] = "inference",
    model: Annotated[list[str] | None, typer.Option(help="only these models; POOL:* for all adapters")] = None,
    tier: Annotated[list[str] | None, typer.Option(help="only these: priority, default, flex, batch")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=1, help="for each model")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(min=1, help="for each model")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="requests at once, for each model")] = None,
    budget: Annotated[int | None, typer.Option(min=1, help="tokens of prompts and answers in each period")] = None,
    per: Annotated[Period, typer.Option(help="the budget's period, in UTC")] = "month",
    expires_in: Annotated[str | None, typer.Option(help="such as 12h or 30d")] = None,
    data_dir: data_dir_option.DataDir = data_dir_option.DEFAULT,
    base_url: BaseUrl = None,
    admin_key: AdminKey = None,
    json: data_dir_option.Json = False,
) -> None:
    """Make a key. It is shown this once."""
    wanted = {
        "name": name,
        "tenant": tenant,
        "role": role,
        "models": model,
        "tiers": tier,
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "concurrency": concurrency,
        "budget_tokens": budget,
        "budget_period": per if budget else None,
        "expires_in_s": _seconds(expires_in) if expires_in else None,
    }
    _show_secret(GatewayApi(data_dir, base_url, admin_key).post("admin/keys", wanted), json)


@app.command("list")
def list_(
    tenant: Annotated[str | None, typer.Option(help="only this tenant's")] = None,
    data_dir: data_dir_option.DataDir = data_dir_option.DEFAULT,
    base_url: BaseUrl = None,
    admin_key: AdminKey = None,
    json: data_dir_option.Json = False,
) -> None:
    """List the keys that were made, newest first."""
    from services.cli.views.output import print_json, print_table

    keys = GatewayApi(data_dir, base_url, admin_key).get("admin/keys", {"tenant": tenant})["data"]
    if json:
        print_json(keys)
        return
    columns = ("id", "name", "tenant", "key", "role", "models", "tiers", "limits", "budget", "state")
    print_table(columns, [_row(key) for key in keys])


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="id of the key, such as key_0123456789abcdef")],
    data_dir: data_dir_option.DataDir = data_dir_option.DEFAULT,
    base_url: BaseUrl = None,
    admin_key: AdminKey = None,
    json: data_dir_option.Json = False,
) -> None:
    """End a key, for good, within seconds on every gateway."""
    from services.cli.views.output import err, print_json

    ended = GatewayApi(data_dir, base_url, admin_key).post(f"admin/keys/{key}/revoke")
    if json:
        print_json(ended)
    else:
        err().print(f"{ended['id']} ({ended['name']}) is revoked", markup=False)


@app.command()
def rotate(
    key: Annotated[str, typer.Argument(help="id of the key, such as key_0123456789abcdef")],
    grace: Annotated[str, typer.Option(help="how long the former key stays good, such as 10m or 1d")] = "0s",
    data_dir: data_dir_option.DataDir = data_dir_option.DEFAULT,
    base_url: BaseUrl = None,
    admin_key: AdminKey = None,
    json: data_dir_option.Json = False,
) -> None:
    """Give a key a new secret: same id, rights and budget. It is shown this once."""
    asked = GatewayApi(data_dir, base_url, admin_key)
    _show_secret(asked.post(f"admin/keys/{key}/rotate", {"grace_s": _seconds(grace)}), json)


@app.command()
def tenant(
    name: str,
    weight: Annotated[float, typer.Option(min=0.001, help="share beside tenants of weight 1")] = 1.0,
    tier: Annotated[
        list[str] | None, typer.Option(help="tiers that its keys may use; default: all but priority")
    ] = None,
    data_dir: data_dir_option.DataDir = data_dir_option.DEFAULT,
    base_url: BaseUrl = None,
    admin_key: AdminKey = None,
    json: data_dir_option.Json = False,
) -> None:
    """Make a tenant, or change one."""
    wanted = {"name": name, "weight": weight, "tiers": tier}
    _show_tenants([GatewayApi(data_dir, base_url, admin_key).post("admin/tenants", wanted)], json)


@app.command()
def tenants(
    data_dir: data_dir_option.DataDir = data_dir_option.DEFAULT,
    base_url: BaseUrl = None,
    admin_key: AdminKey = None,
    json: data_dir_option.Json = False,
) -> None:
    """List the tenants."""
    _show_tenants(GatewayApi(data_dir, base_url, admin_key).get("admin/tenants")["data"], json)


def _show_secret(made: dict[str, Any], json: bool) -> None:
    """The key alone on standard output, so that it can be piped."""
    from services.cli.views.output import err, print_json

    if json:
        print_json(made)
        return
    err().print(f"{made['id']} ({made['name']}): this key is not shown again", markup=False)
    typer.echo(made["key"])


def _show_tenants(tenants: list[dict[str, Any]], json: bool) -> None:
    from services.cli.views.output import print_json, print_table

    if json:
        print_json(tenants)
    else:
        rows = [(one["name"], f"{one['weight']:g}", " ".join(one["tiers"])) for one in tenants]
        print_table(("tenant", "weight", "tiers"), rows)


def _row(key: dict[str, Any]) -> tuple[str, ...]:
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


def _seconds(text: str) -> int:
    """Raises CommandFailed."""
    if not (match := re.fullmatch(r"(\d{1,9})([smhd])", text)):
        raise CommandFailed(f"{text!r} is no time: wanted is a number and s, m, h or d, such as 30d", status=WRONG_USE)
    return int(match[1]) * _UNITS[match[2]]
