"""`tidegate keys`: API keys and tenants, with their rights, limits and budgets."""

import re
from typing import Annotated, Any, Literal

import typer

from services.cli.clients.gateway import GatewayApi
from services.cli.errors import WRONG_USE, CommandFailed
from services.cli.options import DEFAULT_DATA_DIR, AdminKey, BaseUrl, DataDir, Json

app = typer.Typer(help="API keys and tenants: rights, limits and budgets.", no_args_is_help=True)

Period = Literal["day", "month"]
Role = Literal["inference", "admin"]
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="what the key is for")],
    tenant: Annotated[str, typer.Option(help="tenant that the key belongs to; see `tidegate keys tenant`")] = "default",
    role: Annotated[Role, typer.Option(help="what the key may do: admin keys may also make keys")] = "inference",
    model: Annotated[
        list[str] | None,
        typer.Option(help="models that the key may use; POOL:* for all adapters of a pool; default: all"),
    ] = None,
    tier: Annotated[
        list[str] | None,
        typer.Option(help="tiers that the key may use: priority, default, flex, batch; default: the tenant's"),
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=1, help="limit for each model")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(min=1, help="limit for each model")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="requests at the same time, for each model")] = None,
    budget: Annotated[
        int | None, typer.Option(min=1, help="tokens of prompts and answers that may be used in each period")
    ] = None,
    per: Annotated[Period, typer.Option(help="period of the budget, in UTC")] = "month",
    expires_in: Annotated[
        str | None, typer.Option(help="time until the key expires, such as 12h or 30d; default: never")
    ] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    base_url: BaseUrl = None,
    admin_key: AdminKey = None,
    json: Json = False,
) -> None:
    """Make a key. It is shown only once."""
    body = {
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
    _show_secret(GatewayApi(data_dir, base_url, admin_key).post("admin/keys", body), json)


@app.command("list")
def list_(
    tenant: Annotated[str | None, typer.Option(help="only the keys of this tenant")] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    base_url: BaseUrl = None,
    admin_key: AdminKey = None,
    json: Json = False,
) -> None:
    """List the keys, newest first."""
    from services.cli.views.keys import key_table
    from services.cli.views.output import print_json, print_wide

    keys = GatewayApi(data_dir, base_url, admin_key).get("admin/keys", {"tenant": tenant})["data"]
    if json:
        print_json(keys)
    else:
        print_wide(key_table(keys))


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="id of the key, such as key_0123456789abcdef")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    base_url: BaseUrl = None,
    admin_key: AdminKey = None,
    json: Json = False,
) -> None:
    """Revoke a key for ever. Every gateway refuses it within seconds."""
    from services.cli.views.output import err, print_json

    revoked = GatewayApi(data_dir, base_url, admin_key).post(f"admin/keys/{key}/revoke")
    if json:
        print_json(revoked)
    else:
        err().print(f"{revoked['id']} ({revoked['name']}) is revoked", markup=False)


@app.command()
def rotate(
    key: Annotated[str, typer.Argument(help="id of the key, such as key_0123456789abcdef")],
    grace: Annotated[str, typer.Option(help="time that the old secret stays valid, such as 10m or 1d")] = "0s",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    base_url: BaseUrl = None,
    admin_key: AdminKey = None,
    json: Json = False,
) -> None:
    """Give a key a new secret; id, rights and budget stay. The secret is shown only once."""
    gateway = GatewayApi(data_dir, base_url, admin_key)
    _show_secret(gateway.post(f"admin/keys/{key}/rotate", {"grace_s": _seconds(grace)}), json)


@app.command()
def tenant(
    name: str,
    weight: Annotated[
        float, typer.Option(min=0.001, help="share of each class relative to a tenant of weight 1")
    ] = 1.0,
    tier: Annotated[
        list[str] | None, typer.Option(help="tiers that its keys may use; default: all but priority")
    ] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    base_url: BaseUrl = None,
    admin_key: AdminKey = None,
    json: Json = False,
) -> None:
    """Make or change a tenant."""
    body = {"name": name, "weight": weight, "tiers": tier}
    _show_tenants([GatewayApi(data_dir, base_url, admin_key).post("admin/tenants", body)], json)


@app.command()
def tenants(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    base_url: BaseUrl = None,
    admin_key: AdminKey = None,
    json: Json = False,
) -> None:
    """List the tenants."""
    _show_tenants(GatewayApi(data_dir, base_url, admin_key).get("admin/tenants")["data"], json)


def _show_secret(made: dict[str, Any], json: bool) -> None:
    """Prints only the key itself to standard output, so that it can be piped."""
    from services.cli.views.output import err, print_json

    if json:
        print_json(made)
        return
    err().print(f"{made['id']} ({made['name']}): this key is not shown again", markup=False)
    typer.echo(made["key"])


def _show_tenants(tenants: list[dict[str, Any]], json: bool) -> None:
    from services.cli.views.keys import tenant_table
    from services.cli.views.output import print_json, print_wide

    if json:
        print_json(tenants)
    else:
        print_wide(tenant_table(tenants))


def _seconds(text: str) -> int:
    """Raises CommandFailed."""
    if not (match := re.fullmatch(r"(\d{1,9})([smhd])", text)):
        raise CommandFailed(f"{text!r} is not a time: give a number and s, m, h or d, such as 30d", status=WRONG_USE)
    return int(match[1]) * _UNITS[match[2]]
