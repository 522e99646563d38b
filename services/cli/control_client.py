"""Asking the router's control service: any replica that answers."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import grpc

from services.cli.errors import WRONG_USE, CommandFailed
from services.shared.registry import Reference
from services.shared.rpc import channel
from tidegate.router.v1 import router_pb2 as pb
from tidegate.router.v1.router_pb2_grpc import ControlServiceStub

ASK_LIMIT_S = 5.0
_AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)

Answer = TypeVar("Answer")


class NoRouter(CommandFailed):
    """None of them answers."""


async def ask(routers: Sequence[str], question: Callable[[ControlServiceStub], Awaitable[Answer]]) -> Answer:
    """Raises NoRouter; CommandFailed in the router's words when it refuses."""
    trouble = "no router is known"
    for address in routers:
        try:
            async with channel(address) as opened:
                return await question(ControlServiceStub(opened))
        except grpc.aio.AioRpcError as error:
            if error.code() not in _AWAY:
                raise CommandFailed(str(error.details())) from None
            trouble = f"router {address}: {error.code().name} {error.details()}"
    raise NoRouter(trouble)


async def pools(routers: Sequence[str]) -> dict[str, Reference]:
    """Every pool, and the registry reference that it follows."""
    answer = await ask(routers, lambda stub: stub.ListPools(pb.ListPoolsRequest(), timeout=ASK_LIMIT_S))
    return {status.pool.name: Reference.parse(status.model) for status in answer.pools}


async def only_pool(routers: Sequence[str], wanted: str | None) -> str:
    """The wanted pool, or the only one that there is. Raises CommandFailed."""
    known = (wanted,) if wanted else tuple(await pools(routers))
    if len(known) != 1:
        raise CommandFailed(f"which pool? There are: {', '.join(sorted(known)) or 'none'}", status=WRONG_USE)
    return known[0]


async def pool_of(routers: Sequence[str], model: str, wanted: str | None) -> str:
    """The one pool that serves a model, or the wanted one. Raises CommandFailed."""
    serving = [name for name, reference in (await pools(routers)).items() if reference.model == model]
    named = ", ".join(sorted(serving)) or "none"
    if wanted is not None and wanted not in serving:
        raise CommandFailed(f"--pool = {wanted}: no such pool serves {model} (pools that do: {named})")
    if wanted is None and len(serving) != 1:
        raise CommandFailed(f"pools that serve {model}: {named}; name one with --pool", status=WRONG_USE)
    return wanted or serving[0]
