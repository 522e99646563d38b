"""The public gRPC port: inference, the Open Inference Protocol, standard health, and reflection."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.gateway.grpc.call import Calls
from services.gateway.grpc.open_inference import SERVICE as OPEN_INFERENCE
from services.gateway.grpc.open_inference import OpenInferenceService
from services.gateway.grpc.service import InferenceService
from services.shared import rpc
from services.shared.errors import InvalidRequest
from tidegate.inference.v1 import inference_pb2, inference_pb2_grpc
from tidegate.openinference.v2 import open_inference_pb2_grpc

NAME = inference_pb2.DESCRIPTOR.services_by_name["InferenceService"].full_name
MAX_METADATA_BYTES = 8 * 1024


class InferenceServer:
    """The server of the public gRPC port."""

    def __init__(
        self,
        service: InferenceService,
        open_inference: OpenInferenceService,
        calls: Calls,
        *,
        max_message_bytes: int,
        drain_s: float,
    ) -> None:
        limits = [
            ("grpc.max_metadata_size", MAX_METADATA_BYTES),
            ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
        ]
        self._drain_s = drain_s
        self._server = rpc.server(
            max_message_bytes=max_message_bytes,
            extra=limits,
            interceptors=[DecodingInterceptor(calls, (NAME, OPEN_INFERENCE))],
        )
        self._health = health.aio.HealthServicer()
        inference_pb2_grpc.add_InferenceServiceServicer_to_server(service, self._server)
        open_inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(open_inference, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            (NAME, OPEN_INFERENCE, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server
        )

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
    """Decodes requests. Bytes that are no message are the client's fault; gRPC would call it the server's."""

    def __init__(self, calls: Calls, services: tuple[str, ...]) -> None:
        """Makes the interceptor.

        Args:
            calls: opens the calls that are refused.
            services: full names of the services whose requests are decoded here.
        """
        self._calls, self._services = calls, services

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
            try:
                message = decode(body)
            except DecodeError:
                return await self._refuse(context)
            return await respond(message, context)

        return serve

    async def _refuse(self, context: Any) -> None:
        async with self._calls.open(context):
            raise InvalidRequest("The request's bytes are not a message of this method.", code="invalid_message")
