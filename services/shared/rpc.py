"""gRPC channels and servers for the traffic between processes. They use mutual TLS when keys are configured."""

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc
from pydantic import BaseModel, ConfigDict

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
    # Two clients in one process must not share a connection: when one closes it, the other would lose it too.
    ("grpc.use_local_subchannel_pool", 1),
]
_SERVER: list[tuple[str, Any]] = [
    *_COMMON,
    # Peers ping as configured above. A peer that was stalled sends several pings at once and must not be disconnected.
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.so_reuseport", 0),
]


class Tls(BaseModel):
    """PEM files: certificate and key of this process, and the authority that signed all certificates of the cluster."""

    model_config = ConfigDict(frozen=True)
    certificate: Path
    key: Path
    authority: Path


def channel(address: str, tls: Tls | None = None) -> grpc.aio.Channel:
    """A channel to host:port; plain text without `tls`."""
    if tls is None:
        return grpc.aio.insecure_channel(address, options=_CHANNEL)
    credentials = grpc.ssl_channel_credentials(
        tls.authority.read_bytes(), tls.key.read_bytes(), tls.certificate.read_bytes()
    )
    return grpc.aio.secure_channel(address, credentials, options=_CHANNEL)


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
    """Binds a server to host:port.

    Returns:
        The port, which matters when `address` has port 0.

    Raises:
        RuntimeError: The address is taken.
    """
    if tls is None:
        return server.add_insecure_port(address)
    credentials = grpc.ssl_server_credentials(
        [(tls.key.read_bytes(), tls.certificate.read_bytes())],
        tls.authority.read_bytes(),
        require_client_auth=True,
    )
    return server.add_secure_port(address, credentials)
