"""Requests that are no messages: refused as the client's fault, in OpenAI's shape; gRPC would call it the server's."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from services.gateway.grpc.call import Calls
from services.shared.errors import InvalidRequest


class Decoding(grpc.aio.ServerInterceptor):
    """services: full names of those whose requests are decoded here."""

    def __init__(self, calls: Calls, services: tuple[str, ...]) -> None:
        self._calls, self._services = calls, services

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]], details: grpc.HandlerCallDetails
    ) -> Any:
        handler = await continuation(details)
        if handler is None or str(details.method).split("/")[1] not in self._services:
            return handler
        kind = "unary_stream" if handler.response_streaming else "unary_unary"
        serve = self._serve(handler.request_deserializer, getattr(handler, kind))
        return handler._replace(request_deserializer=None, **{kind: serve})

    def _serve(self, decode: Callable[[bytes], Any], answer: Callable[[Any, Any], Awaitable[Any]]) -> Any:
        async def serve(body: bytes, context: Any) -> Any:
            try:
                message = decode(body)
            except DecodeError:
                return await self._refuse(context)
            return await answer(message, context)

        return serve

    async def _refuse(self, context: Any) -> None:
        async with self._calls.open(context):
            raise InvalidRequest("The request's bytes are not a message of this method.", code="invalid_message")
