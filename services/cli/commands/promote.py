"""`tidegate models promote|rollback`: an alias, and with it the workers that follow it, goes to another version."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import data_dir_option
from services.cli.commands import rollout
from services.cli.errors import WRONG_USE, CommandFailed

if TYPE_CHECKING:
    from services.shared.objectstore import ObjectStore
    from services.shared.registry import Reference

Version = Annotated[str, typer.Argument(help="a version, its beginning, or an alias")]
Alias = Annotated[str, typer.Option(help="alias to move")]


def promote(
    model: rollout.Model,
    version: Version,
    alias: Alias = "latest",
    finish_limit: rollout.FinishLimit = None,
    data_dir: data_dir_option.DataDir = data_dir_option.DEFAULT,
    router: rollout.Router = None,
    json: data_dir_option.Json = False,
) -> None:
    """Bring every pool that follows an alias to a version, and move the alias once they serve it."""
    store, at, reference = rollout.store(data_dir), rollout.routers(data_dir, router), _reference(model, alias)
    _show(asyncio.run(_promote(store, at, reference, version, finish_limit)), json=json)


def rollback(
    model: rollout.Model,
    alias: Alias = "latest",
    finish_limit: rollout.FinishLimit = None,
    data_dir: data_dir_option.DataDir = data_dir_option.DEFAULT,
    router: rollout.Router = None,
    json: data_dir_option.Json = False,
) -> None:
    """Promote the version that an alias pointed to before. A second time: back to where it was."""
    store, at, reference = rollout.store(data_dir), rollout.routers(data_dir, router), _reference(model, alias)
    version = asyncio.run(_previous(store, reference))
    _show(asyncio.run(_promote(store, at, reference, version, finish_limit)), json=json)


@dataclass(frozen=True, slots=True)
class Promotion:
    """pools: those that follow the alias and serve the version now."""

    reference: "Reference"
    version: str
    pools: tuple[str, ...]


async def _promote(
    store: "ObjectStore", at: Sequence[str], reference: "Reference", version: str, finish_s: float | None
) -> Promotion:
    """The alias moves last: a rollout that fails leaves it where it was. Raises CommandFailed."""
    from services.cli.control_client import pools

    manifest = await rollout.manifest_of(store, reference.model, version)
    following = [pool for pool, followed in (await pools(at)).items() if followed == reference]
    for pool in following:
        (await rollout.roll(at, pool, manifest.version, finish_s=finish_s, wait=True)).check()
    await _point(store, reference, manifest.version)
    return Promotion(reference, manifest.version, tuple(following))


async def _point(store: "ObjectStore", reference: "Reference", version: str) -> None:
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


def _reference(model: str, alias: str) -> "Reference":
    from services.shared.registry import Reference

    try:
        reference = Reference.parse(f"{model}@{alias}")
    except ValueError as error:
        raise CommandFailed(f"MODEL, --alias: {error}", status=WRONG_USE) from None
    if reference.is_version:
        raise CommandFailed(f"--alias = {alias}: an alias may not look like a version", status=WRONG_USE)
    return reference


def _show(done: Promotion, *, json: bool) -> None:
    from services.cli.views.output import out, print_json

    model, alias = done.reference.model, done.reference.which
    if json:
        print_json({"model": model, "version": done.version, "alias": alias, "pools": list(done.pools)})
    else:
        served = f"served by {', '.join(done.pools)}" if done.pools else "no pool follows it"
        out().print(f"{done.reference} points to {done.version}; {served}")
