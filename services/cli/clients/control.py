"""A client of the router's control service. It uses the first router replica that answers."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import grpc

from services.cli.errors import WRONG_USE, CommandFailed
from services.shared.certificates import Tls
from services.shared.manifests import Manifest
from services.shared.registry import Reference
from services.shared.rpc import channel
from services.shared.settings import TlsSettings, WrongSettings, read
from tidegate.router.v1 import router_pb2 as pb
from tidegate.router.v1.router_pb2_grpc import ControlServiceStub

ANSWER_LIMIT_S = 5.0
_UNREACHABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)

Response = TypeVar("Response")


class NoRouter(CommandFailed):
    """No router answers."""


def router_addresses(data_dir: Path, router: str | None) -> tuple[str, ...]:
    """host:port of the named router, or of all routers of the cluster that runs in `data_dir`.

    Raises:
        ClusterError: No router is named and no cluster runs.
    """
    from services.local.running_cluster import running_cluster

    return (router,) if router else running_cluster(data_dir).addresses.routers


def tls_of_environment() -> Tls | None:
    """Keys for routers with mutual TLS, as TIDEGATE_TLS_* name them. Raises CommandFailed for wrong ones."""
    try:
        return read(TlsSettings).tls()
    except WrongSettings as error:
        raise CommandFailed(str(error), status=WRONG_USE) from None


async def call(routers: Sequence[str], request: Callable[[ControlServiceStub], Awaitable[Response]]) -> Response:
    """Sends a request to one router after another until one answers.

    Raises:
        NoRouter: No router answers.
        CommandFailed: The router refused the request; the message is the router's.
    """
    trouble = "no router is known"
    for address in routers:
        try:
            async with channel(address, tls_of_environment()) as opened:
                return await request(ControlServiceStub(opened))
        except grpc.aio.AioRpcError as error:
            if error.code() not in _UNREACHABLE:
                raise CommandFailed(str(error.details())) from None
            trouble = f"router {address}: {error.code().name} {error.details()}"
    raise NoRouter(trouble)


async def pools(routers: Sequence[str]) -> dict[str, Reference]:
    """The registry reference that each pool follows, by the pool's name."""
    response = await call(routers, lambda stub: stub.ListPools(pb.ListPoolsRequest(), timeout=ANSWER_LIMIT_S))
    return {status.pool.name: Reference.parse(status.model) for status in response.pools}


async def speculators(routers: Sequence[str]) -> dict[str, Reference]:
    """The registry reference of each pool's speculator, by the pool's name; without pools that have none."""
    response = await call(routers, lambda stub: stub.ListPools(pb.ListPoolsRequest(), timeout=ANSWER_LIMIT_S))
    return {status.pool.name: Reference.parse(status.speculator) for status in response.pools if status.speculator}


async def only_pool(routers: Sequence[str], requested: str | None) -> str:
    """The requested pool, or the only pool of the cluster.

    Raises:
        CommandFailed: No pool is requested, and the cluster has none or several.
    """
    known = (requested,) if requested else tuple(await pools(routers))
    if len(known) != 1:
        raise CommandFailed(f"which pool? There are: {', '.join(sorted(known)) or 'none'}", status=WRONG_USE)
    return known[0]


async def pool_of(routers: Sequence[str], model: str, requested: str | None) -> str:
    """The requested pool, or the only pool that serves the model.

    Raises:
        CommandFailed: The requested pool does not serve the model, or none or several pools serve it.
    """
    return _chosen(await pools(routers), model, requested, "serves", "serve")


async def pool_with_speculator(routers: Sequence[str], model: str, requested: str | None) -> str:
    """The requested pool, or the only pool that drafts with this speculator.

    Raises:
        CommandFailed: The requested pool does not draft with it, or none or several pools do.
    """
    return _chosen(await speculators(routers), model, requested, "drafts with", "draft with")


async def place_of(routers: Sequence[str], manifest: Manifest, requested: str | None) -> tuple[str, bool]:
    """Where a version belongs: the pool, and whether it is one of its speculator.

    Args:
        routers: host:port of each router.
        manifest: The version.
        requested: The pool, if one is requested.

    Raises:
        CommandFailed: The requested pool does not use the model, or none or several pools do.
    """
    drafting = {reference.model for reference in (await speculators(routers)).values()}
    if manifest.kind == "speculator" or manifest.model in drafting:
        return await pool_with_speculator(routers, manifest.model, requested), True
    return await pool_of(routers, manifest.model, requested), False


def _chosen(found: dict[str, Reference], model: str, requested: str | None, does: str, do: str) -> str:
    chosen = [name for name, reference in found.items() if reference.model == model]
    named = ", ".join(sorted(chosen)) or "none"
    if requested is not None and requested not in chosen:
        raise CommandFailed(f"--pool = {requested}: no such pool {does} {model} (pools that do: {named})")
    if requested is None and len(chosen) != 1:
        raise CommandFailed(f"pools that {do} {model}: {named}; name one with --pool", status=WRONG_USE)
    return requested or chosen[0]
