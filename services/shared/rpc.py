"""gRPC channels and servers for the traffic between processes. They use mutual TLS when keys are configured."""

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import Any

import grpc

from services.shared.certificates import Pems, Tls

Context = grpc.aio.ServicerContext[Any, Any]
"""The context argument of a servicer's methods."""

MAX_MESSAGE_BYTES = 32 * 1024 * 1024

_COMMON: list[tuple[str, Any]] = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # A peer that disappeared without closing its connection is noticed within 10 + 5 seconds.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # A fixed window that fits a cluster's network, instead of pings that measure the network after every few messages.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 1024 * 1024),
]
_CHANNEL: list[tuple[str, Any]] = [
    *_COMMON,
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # A lookup whose packets were lost goes on for longer than the loss: for half a minute with several name servers and
    # search domains. So it is begun again.
    ("grpc.dns_ares_query_timeout", 3_000),
    # Two clients in one process must not share a connection: when one closes it, the other would lose it too.
    ("grpc.use_local_subchannel_pool", 1),
]
_SERVER: list[tuple[str, Any]] = [
    *_COMMON,
    # Peers ping as configured above. A peer that was stalled sends several pings at once and must not be disconnected.
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.so_reuseport", 0),
]


def channel(address: str, tls: Tls | None = None) -> grpc.aio.Channel:
    """A channel to host:port; plain text without `tls`. It keeps its certificate; the next channel has the newest one.

    Raises:
        WrongCertificate: The files of `tls` are unusable, and always were.
    """
    if tls is None:
        return grpc.aio.insecure_channel(address, options=_CHANNEL)
    pems = tls.pems()
    credentials = grpc.ssl_channel_credentials(pems.authority, pems.key, pems.certificate)
    name = [("grpc.ssl_target_name_override", tls.name)] if tls.name else []
    return grpc.aio.secure_channel(address, credentials, options=[*_CHANNEL, *name])


def server(
    tls: Tls | None = None,
    *,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    extra: list[tuple[str, Any]] | None = None,
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
) -> grpc.aio.Server:
    """A server that is not bound to an address yet. `extra` are gRPC options that are added or replaced."""
    # A dictionary, because gRPC would take the first of two values for one option.
    options = {**dict(_SERVER), "grpc.max_receive_message_length": max_message_bytes, **dict(extra or [])}
    return grpc.aio.server(interceptors=list(interceptors), options=list(options.items()))


async def frames(messages: AsyncIterable[Any]) -> AsyncIterator[Any]:
    """The single frames of a stream of messages, which carry several frames each."""
    async for message in messages:
        for frame in message.frames:
            yield frame


def bind(server: grpc.aio.Server, address: str, tls: Tls | None = None) -> int:
    """Binds a server to host:port. It uses a renewed certificate from the next connection on.

    Returns:
        The port, which matters when `address` has port 0.

    Raises:
        RuntimeError: The address is taken.
        WrongCertificate: The files of `tls` are unusable.
    """
    if tls is None:
        return server.add_insecure_port(address)
    # gRPC asks again before each handshake, in a thread of its own.
    credentials = grpc.dynamic_ssl_server_credentials(
        _server_certificate(tls.pems()), lambda: _server_certificate(tls.pems()), require_client_authentication=True
    )
    return server.add_secure_port(address, credentials)


def _server_certificate(pems: Pems) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(pems.key, pems.certificate)], pems.authority)
