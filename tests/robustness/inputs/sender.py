"""Sends generated requests, many at once, and keeps the responses."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

import grpc
import httpx

from tests.robustness.inputs.http_cases import HttpCase
from tests.robustness.inputs.rpc_cases import SERVICE, RpcCase
from tests.support.plain_http import no_certificates
from tests.support.raw_http import RawConnection, request

AT_ONCE = 16
TIMEOUT_S = 60.0
DETAIL = "tidegate-error-bin"
C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """media: the content type. ignored: the header that names what was left out.

    error: why there is no response; empty where there is one.
    """

    case: HttpCase
    status: int = 0
    media: str = ""
    body: bytes = b""
    ignored: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class RpcResponse:
    """detail: the serialised OpenAIError; None where none came."""

    case: RpcCase
    code: str = ""
    text: str = ""
    detail: bytes | None = None


async def send_http(base: str, keys: Callable[[HttpCase], str], cases: Iterable[HttpCase]) -> list[HttpResponse]:
    """Sends cases over REST. keys: chooses the API key of a case."""
    async with httpx.AsyncClient(timeout=TIMEOUT_S, verify=no_certificates()) as http:

        async def one(case: HttpCase) -> HttpResponse:
            headers = [*case.headers, ("authorization", f"Bearer {keys(case)}")]
            try:
                if case.version == "1.0":
                    return await _over_http_1_0(base.removeprefix("http://"), case, headers)
                # Not joined by httpx, which takes `//v1/models` for a host.
                sent = [(name.encode(), value.encode()) for name, value in headers]
                response = await http.request(case.method, f"{base}{case.target}", headers=sent, content=case.body)
            except (httpx.HTTPError, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                return HttpResponse(case, error=repr(error))
            found = response.headers
            return HttpResponse(
                case,
                response.status_code,
                found.get("content-type", ""),
                response.content,
                found.get("x-tidegate-ignored", ""),
            )

        return await _each(one, cases)


async def _over_http_1_0(address: str, case: HttpCase, headers: list[tuple[str, str]]) -> HttpResponse:
    """Sends a case as HTTP/1.0; the answer ends with the connection."""
    lines = [f"{name}: {value}" for name, value in headers]
    async with RawConnection(address) as connection:
        connection.write(
            request(
                f"{case.method} {case.target} HTTP/1.0", *lines, f"content-length: {len(case.body)}", body=case.body
            )
        )
        head = await connection.head()
        body = await connection.to_the_end()
    found = head.headers
    if "transfer-encoding" in found:
        return HttpResponse(case, error="chunks over HTTP/1.0")
    return HttpResponse(case, head.status, found.get("content-type", ""), body, found.get("x-tidegate-ignored", ""))


async def send_rpc(address: str, key: str, cases: Iterable[RpcCase]) -> list[RpcResponse]:
    """Sends cases over gRPC."""
    metadata = (("authorization", f"Bearer {key}"),)
    async with grpc.aio.insecure_channel(address) as channel:

        async def one(case: RpcCase) -> RpcResponse:
            try:
                await _call(channel, case, metadata)
            except grpc.aio.AioRpcError as error:
                detail = dict(error.trailing_metadata() or ()).get(DETAIL)
                return RpcResponse(case, error.code().name, error.details() or "", detail)
            return RpcResponse(case, "OK")

        return await _each(one, cases)


async def _call(channel: Any, case: RpcCase, metadata: Any) -> None:
    """Sends the bytes as they are, even where they are no valid message."""
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
