"""`tidegate models promote|rollback`: move an alias, and the workers that follow it, to another version."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from services.cli.errors import CommandFailed
from services.cli.options import (
    DEFAULT_DATA_DIR,
    Alias,
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
    from services.cli.clients.rollouts import Way
    from services.shared.objectstore import ObjectStore
    from services.shared.registry import Reference


def promote(
    model: Model,
    version: Version,
    alias: Alias = "latest",
    finish_limit: FinishLimit = None,
    mode: Mode = None,
    reason: Reason = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    router: Router = None,
    json: Json = False,
) -> None:
    """Bring every pool that follows an alias to a version, then move the alias to it."""
    from services.cli.clients.control import router_addresses
    from services.cli.clients.registry import alias_reference, open_store
    from services.cli.clients.rollouts import Way

    reference = alias_reference(model, alias, options="MODEL, --alias")
    store, routers = open_store(data_dir), router_addresses(data_dir, router)
    way = Way(finish_s=finish_limit, mode=mode)
    _show(asyncio.run(_promote(store, routers, reference, version, way, reason)), json=json)


def rollback(
    model: Model,
    alias: Alias = "latest",
    finish_limit: FinishLimit = None,
    mode: Mode = None,
    reason: Reason = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    router: Router = None,
    json: Json = False,
) -> None:
    """Promote the version that an alias pointed to before, without the steps of a canary.

    A second rollback undoes the first.
    """
    from services.cli.clients.control import router_addresses
    from services.cli.clients.registry import alias_reference, open_store
    from services.cli.clients.rollouts import Way

    reference = alias_reference(model, alias, options="MODEL, --alias")
    store, routers = open_store(data_dir), router_addresses(data_dir, router)
    version = asyncio.run(_previous(store, reference))
    way = Way(finish_s=finish_limit, mode=mode, without_steps=True)
    _show(asyncio.run(_promote(store, routers, reference, version, way, reason or "a rollback")), json=json)


@dataclass(frozen=True, slots=True)
class Promotion:
    """A promotion that is done. `pools` follow the alias and serve the version now, unless it is an adapter."""

    reference: "Reference"
    version: str
    pools: tuple[str, ...]
    is_adapter: bool = False


async def _promote(
    store: "ObjectStore", routers: Sequence[str], reference: "Reference", version: str, way: "Way", reason: str
) -> Promotion:
    """The alias moves last: a rollout that fails leaves it where it was. Raises CommandFailed."""
    from services.cli.clients import rollouts
    from services.cli.clients.control import pools, speculators
    from services.cli.clients.registry import find_manifest
    from services.cli.commands.rollout import asker
    from services.cli.views.output import err
    from services.cli.views.rollout import follow_rollout
    from services.shared.evaluation_message import evaluation_message

    manifest = await find_manifest(store, reference.model, version)
    following = [pool for pool, followed in (await pools(routers)).items() if followed == reference]
    drafting = [pool for pool, followed in (await speculators(routers)).items() if followed == reference]
    ways = [(pool, way) for pool in following]
    ways += [(pool, way.model_copy(update={"speculator": True})) for pool in drafting]
    for pool, of_pool in ways:
        evaluation = evaluation_message(manifest)
        started = await rollouts.start(routers, pool, manifest.version, of_pool, asker(reason), evaluation)
        (await follow_rollout(routers, started, err())).check()
    await _move_alias(store, reference, manifest.version)
    return Promotion(reference, manifest.version, (*following, *drafting), manifest.kind == "adapter")


async def _move_alias(store: "ObjectStore", reference: "Reference", version: str) -> None:
    from services.shared.clock import SystemClock
    from services.shared.objectstore import StoreError
    from trainer.publish import point

    try:
        await point(store, reference, version, clock=SystemClock(), random=Random())  # noqa: S311
    except StoreError as error:
        raise CommandFailed(f"the workers have changed, but {reference} was not moved: {error}") from None


async def _previous(store: "ObjectStore", reference: "Reference") -> str:
    from services.shared.objectstore import StoreError
    from services.shared.registry import Registry, UnknownVersion

    try:
        previous = await Registry(store).previous(reference)
    except UnknownVersion as error:
        raise CommandFailed(str(error)) from None
    except StoreError as error:
        raise CommandFailed(f"the object store cannot be read: {error}") from None
    if previous is None:
        raise CommandFailed(f"{reference} has never pointed to another version")
    return previous


def _show(promotion: Promotion, *, json: bool) -> None:
    from services.cli.views.output import out, print_json

    model, alias = promotion.reference.model, promotion.reference.which
    if json:
        print_json({"model": model, "version": promotion.version, "alias": alias, "pools": list(promotion.pools)})
    else:
        out().print(f"{promotion.reference} points to {promotion.version}; {_followers(promotion)}")


def _followers(promotion: Promotion) -> str:
    if promotion.is_adapter:
        return "workers that serve this adapter follow within seconds"
    return f"served by {', '.join(promotion.pools)}" if promotion.pools else "no pool follows it"
