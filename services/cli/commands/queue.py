"""`tidegate queue`: what waits and runs, and the rules of the classes."""

import asyncio
from typing import Annotated, Any

import typer

from services.cli.durations import milliseconds
from services.cli.options import DEFAULT_DATA_DIR, DataDir, Json, Router, Watch
from services.shared.tier import Tier

app = typer.Typer(help="Show the queue and its rules, and change the rules.", invoke_without_command=True)


def _duration(meaning: str) -> Any:
    return typer.Option(parser=milliseconds, metavar="DURATION", help=meaning)


@app.callback()
def show(
    context: typer.Context,
    watched: Watch = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    router: Router = None,
    json: Json = False,
) -> None:
    """Show what waits and runs, by pool and class. `queue rules` shows the rules."""
    if context.invoked_subcommand is not None:
        return
    from services.cli.clients.control import router_addresses
    from services.cli.clients.queue_status import queue_status
    from services.cli.views.live import watch
    from services.cli.views.output import out, print_json
    from services.cli.views.queue import status_tables

    routers = router_addresses(data_dir, router)
    if watched:
        watch(lambda: queue_status(routers), status_tables)
        return
    pools = asyncio.run(queue_status(routers))
    if json:
        print_json([pool.model_dump() for pool in pools])
    else:
        out().print(status_tables(pools))


@app.command()
def rules(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    router: Router = None,
    json: Json = False,
) -> None:
    """Show the rules of each class, by pool. `queue set` changes them."""
    from services.cli.clients.control import router_addresses
    from services.cli.clients.queue_status import queue_status
    from services.cli.views.output import out, print_json
    from services.cli.views.queue import rule_tables

    pools = asyncio.run(queue_status(router_addresses(data_dir, router)))
    if json:
        print_json([pool.model_dump() for pool in pools])
    else:
        out().print(rule_tables(pools))


@app.command("set")
def set_(
    pool: str,
    service_class: Annotated[Tier, typer.Argument(metavar="CLASS")],
    max_queued: Annotated[int | None, typer.Option(min=0, help="requests that may wait; more are refused")] = None,
    max_queued_tokens: Annotated[
        int | None, typer.Option(min=0, help="estimated tokens that may wait; more are refused")
    ] = None,
    max_wait: Annotated[int | None, _duration("a request that has waited this long is refused")] = None,
    objective: Annotated[int | None, _duration("objective for the time to first token")] = None,
    ageing: Annotated[
        int | None, _duration("a class that was not served for this long gets one grant in ten; 0: never")
    ] = None,
    preempts: Annotated[bool | None, typer.Option(help="may preempt requests of preemptible classes")] = None,
    preemptible: Annotated[bool | None, typer.Option(help="its running requests may be preempted")] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    router: Router = None,
    json: Json = False,
) -> None:
    """Change the rules of a class, at once and on every router. Waiting requests stay in the queue."""
    from services.cli.clients.control import router_addresses
    from services.cli.clients.queue_status import set_policy
    from services.cli.views.output import print_json, print_wide
    from services.cli.views.queue import policy_table
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
    routers = router_addresses(data_dir, router)
    policy = asyncio.run(set_policy(routers, pool, ServiceClass.of_label(service_class), change))
    if json:
        print_json(policy.model_dump())
    else:
        print_wide(policy_table(service_class, policy))
