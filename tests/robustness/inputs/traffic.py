"""Sends cases, many at once, and keeps what came back of each."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

import grpc
import httpx

from tests.robustness.inputs.http_cases import HttpCase
from tests.robustness.inputs.rpc_cases import SERVICE, RpcCase

AT_ONCE = 16
TIMEOUT_S = 60.0
DETAIL = "tidegate-error-bin"
C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    case: HttpCase
    status: int = 0
    media: str = ""
    body: bytes = b""
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class RpcAnswer:
    """detail: the serialised OpenAIError, if one came."""

    case: RpcCase
    code: str = ""
    text: str = ""
    detail: bytes | None = None


async def send_http(base: str, keys: Callable[[HttpCase], str], cases: Iterable[HttpCase]) -> list[HttpAnswer]:
    """keys: which one a case is sent with."""
    async with httpx.AsyncClient(base_url=base, timeout=TIMEOUT_S) as http:

        async def one(case: HttpCase) -> HttpAnswer:
            headers = [*case.headers, ("authorization", f"Bearer {keys(case)}")]
            try:
                answer = await http.request(case.method, case.target, headers=headers, content=case.body)
            except httpx.HTTPError as error:
                return HttpAnswer(case, trouble=repr(error))
            return HttpAnswer(case, answer.status_code, answer.headers.get("content-type", ""), answer.content)

        return await _each(one, cases)


async def send_rpc(address: str, key: str, cases: Iterable[RpcCase]) -> list[RpcAnswer]:
    metadata = (("authorization", f"Bearer {key}"),)
    async with grpc.aio.insecure_channel(address) as channel:

        async def one(case: RpcCase) -> RpcAnswer:
            try:
                await _call(channel, case, metadata)
            except grpc.aio.AioRpcError as error:
                detail = dict(error.trailing_metadata() or ()).get(DETAIL)
                return RpcAnswer(case, error.code().name, error.details() or "", detail)
            return RpcAnswer(case, "OK")

        return await _each(one, cases)


async def _call(channel: Any, case: RpcCase, metadata: Any) -> None:
    """Bytes go out as they are, whether they are a message or not."""
    path = f"/{SERVICE.full_name}/{case.method}"
    if SERVICE.methods_by_name[case.method].server_streaming:
        async for _ in channel.unary_stream(path)(case.body, metadata=metadata, timeout=TIMEOUT_S):
            pass
    else:
        await channel.unary_unary(path)(case.body, metadata=metadata, timeout=TIMEOUT_S)


async def _each(send: Callable[[C], Awaitable[Any]], cases: Iterable[C]) -> list[Any]:
    waiting = iter(cases)

    async def some() -> list[Any]:
        return [await send(case) for case in waiting]

    return list(chain.from_iterable(await asyncio.gather(*(some() for _ in range(AT_ONCE)))))
