"""`tidegate rollout`: change the model version of running workers."""

import asyncio
import getpass
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from services.cli.errors import WRONG_USE, CommandFailed
from services.cli.options import (
    DEFAULT_DATA_DIR,
    AdminKey,
    BaseUrl,
    DataDir,
    FinishLimit,
    Json,
    Mode,
    Model,
    Reason,
    Router,
    Version,
)

if TYPE_CHECKING:
    from services.cli.clients.rollouts import Asker, Rollout, RolloutEvent, Way
    from services.shared.objectstore import ObjectStore

app = typer.Typer(help="Change the weights of running workers, a few at a time.", no_args_is_help=True)

Pool = Annotated[str | None, typer.Option(help="the pool, if several pools serve the model")]
PoolName = Annotated[str | None, typer.Argument(help="the pool, if there are several")]
WhichPolicy = Annotated[
    Literal["rolling", "canary", "all_at_once"] | None,
    typer.Option("--policy", help="how it goes through the pool; default: `rollout.policy` of the pool"),
]
AtOnce = Annotated[
    int | None,
    typer.Option(min=1, help="workers that may change at the same time; default: `rollout.at_once` of the pool"),
]
Steps = Annotated[
    str | None,
    typer.Option(
        help="steps of a canary: workers, or shares of the pool, such as 1,10%,50%; default: `rollout.steps` of the"
        " pool"
    ),
]
Hold = Annotated[
    float | None,
    typer.Option(
        min=0, max=86_400, help="seconds for which each step holds; default: what the pool's steps say, or 60"
    ),
]
Observe = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=86_400,
        help="seconds for which the last worker of the old version stays, so that the gates go on comparing; default:"
        " `rollout.observe_s` of the pool",
    ),
]
OfSpeculator = Annotated[
    bool, typer.Option("--speculator", help="the rollout of the pool's speculator, and not of its model")
]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="wait until the rollout has ended")]


@app.command("start")
def start(
    model: Model,
    version: Version,
    pool: Pool = None,
    policy: WhichPolicy = None,
    steps: Steps = None,
    hold: Hold = None,
    observe: Observe = None,
    at_once: AtOnce = None,
    reason: Reason = "",
    finish_limit: FinishLimit = None,
    mode: Mode = None,
    wait: Wait = True,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    router: Router = None,
    json: Json = False,
) -> None:
    """Bring every worker of a pool to a version. Exit status 1: it failed, and all changed workers went back.

    MODEL may be the speculator of a pool: then its workers draft with that version, and their model stays.
    """
    from services.cli.clients.control import router_addresses
    from services.cli.clients.registry import open_store
    from services.cli.clients.rollouts import Policy, Way
    from services.cli.steps import parse_steps

    way = Way(
        policy=Policy(policy) if policy else None,
        at_once=at_once,
        finish_s=finish_limit,
        mode=mode,
        steps=parse_steps(steps) if steps is not None else (),
        hold_s=hold,
        observe_s=observe,
    )
    store, routers = open_store(data_dir), router_addresses(data_dir, router)
    started = _start(store, routers, model, version, pool=pool, way=way, asker=asker(reason), wait=wait)
    _show(asyncio.run(started), json=json)


@app.command("status")
def status(
    pool: PoolName = None,
    speculator: OfSpeculator = False,
    wait: Wait = True,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    router: Router = None,
    json: Json = False,
) -> None:
    """Show the last rollout of a pool, and follow it while it runs. Exit status 1: it failed."""
    from services.cli.clients.control import router_addresses

    _show(asyncio.run(_status(router_addresses(data_dir, router), pool, speculator=speculator, wait=wait)), json=json)


@app.command("pause")
def pause(
    pool: PoolName = None,
    speculator: OfSpeculator = False,
    reason: Reason = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    router: Router = None,
) -> None:
    """Let no other worker begin to change. Those that are changing go on."""
    from services.cli.clients import rollouts

    _change(partial(rollouts.pause, speculator=speculator), "is paused", pool, reason, data_dir, router)


@app.command("resume")
def resume(
    pool: PoolName = None,
    speculator: OfSpeculator = False,
    reason: Reason = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    router: Router = None,
) -> None:
    """Go on with a rollout that is paused."""
    from services.cli.clients import rollouts

    _change(partial(rollouts.resume, speculator=speculator), "goes on", pool, reason, data_dir, router)


@app.command("abort")
@app.command("stop", hidden=True)
def abort(
    pool: PoolName = None,
    speculator: OfSpeculator = False,
    reason: Reason = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    router: Router = None,
) -> None:
    """Give a running rollout up. Workers that have changed go back to their former version."""
    from services.cli.clients import rollouts

    _change(partial(rollouts.abort, speculator=speculator), "is given up", pool, reason, data_dir, router)


@app.command("history")
def history(
    pool: PoolName = None,
    speculator: OfSpeculator = False,
    every: Annotated[
        bool,
        typer.Option("--all", help="of all pools and times, from the gateways' database; needs an admin key"),
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="events that --all shows, the last ones")] = 100,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    router: Router = None,
    base_url: BaseUrl = None,
    admin_key: AdminKey = None,
    json: Json = False,
) -> None:
    """Show what happened in the rollouts of a pool, when, by whom, and why."""
    from services.cli.clients import rollouts
    from services.cli.clients.control import router_addresses
    from services.cli.clients.gateway import GatewayApi
    from services.cli.views.output import print_json, print_wide
    from services.cli.views.rollout import history_table

    if every and speculator:
        raise CommandFailed("--all: the database keeps no rollouts of speculators; leave --all out", status=WRONG_USE)
    if every:
        events = rollouts.kept_history(GatewayApi(data_dir, base_url, admin_key), pool, limit)
    else:
        events = asyncio.run(_history(router_addresses(data_dir, router), pool, speculator=speculator))
    if json:
        print_json([event.model_dump() for event in events])
    else:
        print_wide(history_table(events))


def asker(reason: str) -> "Asker":
    """The person at this terminal, for the history. The routers do not prove the name."""
    from services.cli.clients.rollouts import Asker

    try:
        return Asker(who=getpass.getuser(), why=reason)
    except (KeyError, OSError):
        # A container may run as a user without a name.
        return Asker(why=reason)


def _change(
    change: "Callable[[Sequence[str], str, Asker], Awaitable[Rollout]]",
    what: str,
    pool: str | None,
    reason: str,
    data_dir: Path,
    router: str | None,
) -> None:
    from services.cli.clients.control import only_pool, router_addresses
    from services.cli.views.output import out

    routers = router_addresses(data_dir, router)

    async def changed() -> "Rollout":
        return await change(routers, await only_pool(routers, pool), asker(reason))

    rollout = asyncio.run(changed())
    out().print(f"the rollout of {rollout.version[:12]} to {rollout.pool} {what}")


async def _start(
    store: "ObjectStore",
    routers: Sequence[str],
    model: str,
    version: str,
    *,
    pool: str | None,
    way: "Way",
    asker: "Asker",
    wait: bool,
) -> "Rollout":
    from services.cli.clients import rollouts
    from services.cli.clients.control import place_of
    from services.cli.clients.registry import find_manifest
    from services.shared.evaluation_message import evaluation_message

    manifest = await find_manifest(store, model, version)
    to, speculator = await place_of(routers, manifest, pool)
    way = way.model_copy(update={"speculator": speculator})
    rollout = await rollouts.start(routers, to, manifest.version, way, asker, evaluation_message(manifest))
    return await _ended(routers, rollout) if wait else rollout


async def _status(routers: Sequence[str], pool: str | None, *, speculator: bool, wait: bool) -> "Rollout":
    from services.cli.clients import rollouts
    from services.cli.clients.control import only_pool

    rollout = await rollouts.last(routers, await only_pool(routers, pool), speculator=speculator)
    return await _ended(routers, rollout) if wait else rollout


async def _history(routers: Sequence[str], pool: str | None, *, speculator: bool) -> "list[RolloutEvent]":
    from services.cli.clients import rollouts
    from services.cli.clients.control import only_pool

    return await rollouts.history(routers, await only_pool(routers, pool), speculator=speculator)


async def _ended(routers: Sequence[str], rollout: "Rollout") -> "Rollout":
    from services.cli.views.output import err
    from services.cli.views.rollout import follow_rollout

    return await follow_rollout(routers, rollout, err())


def _show(rollout: "Rollout", *, json: bool) -> None:
    """Raises CommandFailed when the rollout failed."""
    from services.cli.views.output import out, print_json
    from services.cli.views.rollout import rollout_table
    from services.cli.views.rollout_gate import gate_table

    if json:
        print_json(rollout.model_dump())
    else:
        out().print(rollout_table(rollout))
        if rollout.gate and rollout.gate.figures:
            out().print(gate_table(rollout.gate))
    rollout.check()
