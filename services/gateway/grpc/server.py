"""The public gRPC port: inference, the Open Inference Protocol, standard health, and reflection."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from services.gateway.grpc.call import Calls
from services.gateway.grpc.open_inference import SERVICE as OPEN_INFERENCE
from services.gateway.grpc.open_inference import OpenInferenceService
from services.gateway.grpc.reflection import add_reflection
from services.gateway.grpc.service import InferenceService
from services.shared import rpc
from services.shared.errors import InvalidRequest, TidegateError, TooLarge
from tidegate.inference.v1 import inference_pb2, inference_pb2_grpc
from tidegate.openinference.v2 import open_inference_pb2_grpc

NAME = inference_pb2.DESCRIPTOR.services_by_name["InferenceService"].full_name
MAX_METADATA_BYTES = 8 * 1024
# gRPC itself refuses a message without an error that says more. So messages of up to this many times the limit are read
# and refused here; only larger ones are left to gRPC.
READ_FACTOR = 4
# Pings that may come too soon. A client that was stalled sends several at once, and must not be disconnected.
MAX_EARLY_PINGS = 10


class InferenceServer:
    """The server of the public gRPC port."""

    def __init__(
        self,
        service: InferenceService,
        open_inference: OpenInferenceService,
        calls: Calls,
        *,
        max_message_bytes: int,
        min_ping_s: float,
        drain_s: float,
    ) -> None:
        """Makes the server.

        Args:
            service: the public InferenceService.
            open_inference: the Open Inference Protocol.
            calls: opens the calls that are refused before a service sees them.
            max_message_bytes: size of the largest request.
            min_ping_s: seconds that clients should leave between two keepalive pings.
            drain_s: seconds that open calls get when the server stops.
        """
        limits: list[tuple[str, Any]] = [
            ("grpc.max_metadata_size", MAX_METADATA_BYTES),
            ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
            ("grpc.http2.min_ping_interval_without_data_ms", round(min_ping_s * 1000)),
            ("grpc.http2.max_ping_strikes", MAX_EARLY_PINGS),
        ]
        self._drain_s = drain_s
        self._server = rpc.server(
            max_message_bytes=READ_FACTOR * max_message_bytes,
            extra=limits,
            interceptors=[DecodingInterceptor(calls, (NAME, OPEN_INFERENCE), max_message_bytes)],
        )
        self._health = health.aio.HealthServicer()
        inference_pb2_grpc.add_InferenceServiceServicer_to_server(service, self._server)
        open_inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(open_inference, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        add_reflection(self._server, (NAME, OPEN_INFERENCE, health.SERVICE_NAME))

    async def start(self, host: str, port: int) -> str:
        """Starts to serve, and returns host:port. port: 0 for any free one.

        Raises:
            RuntimeError: the address is taken.
        """
        bound = rpc.bind(self._server, f"{host}:{port}")
        await self._server.start()
        return f"{host}:{bound}"

    async def tell_health(self, *, ready: bool) -> None:
        """Sets what the health service answers."""
        status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", NAME, OPEN_INFERENCE):
            await self._health.set(name, status)

    async def stop(self) -> None:
        """Takes no more calls, and lets open ones finish within the drain time."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(self._drain_s)


class DecodingInterceptor(grpc.aio.ServerInterceptor):
    """Decodes requests, and refuses those that are too large or no messages, with the error that says so.

    Bytes that are no message are the client's fault; gRPC would call it the server's.
    """

    def __init__(self, calls: Calls, services: tuple[str, ...], max_bytes: int) -> None:
        """Makes the interceptor.

        Args:
            calls: opens the calls that are refused.
            services: full names of the services whose requests are decoded here.
            max_bytes: size of the largest request.
        """
        self._calls, self._services, self._max_bytes = calls, services, max_bytes

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]], details: grpc.HandlerCallDetails
    ) -> Any:
        """Replaces the decoder of a method of these services."""
        handler = await continuation(details)
        if handler is None or str(details.method).split("/")[1] not in self._services:
            return handler
        kind = "unary_stream" if handler.response_streaming else "unary_unary"
        serve = self._serve(handler.request_deserializer, getattr(handler, kind))
        return handler._replace(request_deserializer=None, **{kind: serve})

    def _serve(self, decode: Callable[[bytes], Any], respond: Callable[[Any, Any], Awaitable[Any]]) -> Any:
        async def serve(body: bytes, context: Any) -> Any:
            if len(body) > self._max_bytes:
                return await self._refuse(context, TooLarge(f"The request is larger than {self._max_bytes} bytes."))
            try:
                message = decode(body)
            except DecodeError:
                wrong = "The request's bytes are not a message of this method."
                return await self._refuse(context, InvalidRequest(wrong, code="invalid_message"))
            return await respond(message, context)

        return serve

    async def _refuse(self, context: Any, error: TidegateError) -> None:
        async with self._calls.open(context):
            raise error
