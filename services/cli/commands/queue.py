"""`tidegate queue`: who waits, for how long, and by which rules; and changing those rules."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli import data_dir_option
from services.cli.commands.rollout import Router, routers
from services.cli.durations import milliseconds, words
from services.cli.views.live import Watch, watch
from services.shared.config import Tier

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Group
    from rich.table import Table

    from services.cli.queue_status import ClassStanding, Policy, PoolStanding

app = typer.Typer(help="The queue: who waits, for how long, and by which rules.", invoke_without_command=True)


def _duration(meaning: str) -> Any:
    return typer.Option(parser=milliseconds, metavar="DURATION", help=meaning)


@app.callback()
def show(
    context: typer.Context,
    watched: Watch = False,
    data_dir: data_dir_option.DataDir = data_dir_option.DEFAULT,
    router: Router = None,
    json: data_dir_option.Json = False,
) -> None:
    """Show who waits, by pool and class; `queue rules` shows by which rules."""
    if context.invoked_subcommand is not None:
        return
    from services.cli.queue_status import standing
    from services.cli.views.output import out, print_json

    at = routers(data_dir, router)
    if watched:
        watch(lambda: standing(at), tables)
        return
    pools = asyncio.run(standing(at))
    if json:
        print_json([pool.model_dump() for pool in pools])
    else:
        out().print(tables(pools))


@app.command()
def rules(
    data_dir: data_dir_option.DataDir = data_dir_option.DEFAULT,
    router: Router = None,
    json: data_dir_option.Json = False,
) -> None:
    """Show by which rules requests wait, by pool and class; `queue set` changes them."""
    from services.cli.queue_status import standing
    from services.cli.views.output import out, print_json

    pools = asyncio.run(standing(routers(data_dir, router)))
    if json:
        print_json([pool.model_dump() for pool in pools])
    else:
        out().print(rule_tables(pools))


@app.command("set")
def set_(
    pool: str,
    service_class: Annotated[Tier, typer.Argument(metavar="CLASS")],
    max_queued: Annotated[int | None, typer.Option(min=0, help="requests that may wait")] = None,
    max_queued_tokens: Annotated[int | None, typer.Option(min=0, help="estimated tokens that may wait")] = None,
    max_wait: Annotated[int | None, _duration("a request that waited this long is given up")] = None,
    objective: Annotated[int | None, _duration("for the time to first token")] = None,
    ageing: Annotated[int | None, _duration("so long without a turn gives it a tenth; 0: never")] = None,
    preempts: Annotated[bool | None, typer.Option(help="may make others yield")] = None,
    preemptible: Annotated[bool | None, typer.Option(help="may be made to yield")] = None,
    data_dir: data_dir_option.DataDir = data_dir_option.DEFAULT,
    router: Router = None,
    json: data_dir_option.Json = False,
) -> None:
    """Change the rules of a class at once and on every router; nothing that waits is lost."""
    from services.cli.queue_status import set_policy
    from services.cli.views.output import print_json
    from services.shared.classes import ServiceClass
    from tidegate.router.v1.router_pb2 import ClassPolicy

    change = ClassPolicy(
        max_queued=max_queued,
        max_queued_tokens=max_queued_tokens,
        max_wait_ms=max_wait,
        ttft_objective_ms=objective,
        ageing_ms=ageing,
        preempts=preempts,
        preemptible=preemptible,
    )
    if not change.ListFields():
        raise typer.BadParameter("name at least one rule to change (see --help)")
    at = routers(data_dir, router)
    policy = asyncio.run(set_policy(at, pool, ServiceClass.of_label(service_class), change))
    if json:
        print_json(policy.model_dump())
    else:
        print_policy(service_class, policy)


def print_policy(service_class: str, policy: "Policy") -> None:
    from services.cli.views.output import print_table

    print_table(("class", *_RULES), [(service_class, *_rules(policy))])


def tables(pools: "list[PoolStanding]") -> "Group":
    return _by_pool(pools, ("queued", "tokens", "running", "new one waits"), _counts)


def rule_tables(pools: "list[PoolStanding]") -> "Group":
    return _by_pool(pools, _RULES, lambda standing: _rules(standing.policy))


def _by_pool(
    pools: "list[PoolStanding]", columns: tuple[str, ...], cells: "Callable[[ClassStanding], tuple[str, ...]]"
) -> "Group":
    from services.cli.views.output import build_table, titled

    def table(pool: "PoolStanding") -> "Table":
        return build_table(("class", *columns), ((of.service_class, *cells(of)) for of in pool.classes))

    return titled((_title(pool), table(pool)) for pool in pools)


def _title(pool: "PoolStanding") -> str:
    return f"{pool.pool}: {pool.ready_workers} workers ready, {pool.desired_workers} wanted, placement {pool.placement}"


def _counts(standing: "ClassStanding") -> tuple[str, ...]:
    wait = words(standing.expected_wait_ms) if standing.queued or standing.expected_wait_ms else "-"
    return (f"{standing.queued:,}", f"{standing.queued_tokens:,}", f"{standing.running:,}", wait)


_RULES = ("may queue", "tokens", "may wait", "objective", "ageing", "preemption")


def _rules(policy: "Policy") -> tuple[str, ...]:
    preemption = ("preempts " if policy.preempts else "") + ("yields" if policy.preemptible else "")
    return (
        f"{policy.max_queued:,}",
        f"{policy.max_queued_tokens:,}",
        words(policy.max_wait_ms),
        words(policy.ttft_objective_ms),
        words(policy.ageing_ms) if policy.ageing_ms else "never",
        preemption.strip() or "-",
    )
