"""gRPC channels and servers with the options that all internal traffic shares; mutual TLS when keys are given."""

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc
from pydantic import BaseModel, ConfigDict

Context = grpc.aio.ServicerContext[Any, Any]
"""What a servicer's methods are given to answer with."""

MAX_MESSAGE_BYTES = 32 * 1024 * 1024

_COMMON: list[tuple[str, Any]] = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # A peer that vanished without a word is noticed within 10 + 5 seconds.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # A window that fits a cluster's network, instead of pings that measure it with every few messages.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 1024 * 1024),
]
_CHANNEL: list[tuple[str, Any]] = [
    *_COMMON,
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # Two clients of one process must not share a connection: one of them leaving would be felt by the other.
    ("grpc.use_local_subchannel_pool", 1),
]
_SERVER: list[tuple[str, Any]] = [
    *_COMMON,
    # Our own peers ping as above; one whose pings bunch up, because it was stalled, is not to be thrown out for it.
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.so_reuseport", 0),
]


class Tls(BaseModel):
    """PEM files of this process: its certificate and key, and the authority that signs all of the cluster's."""

    model_config = ConfigDict(frozen=True)
    certificate: Path
    key: Path
    authority: Path


def channel(address: str, tls: Tls | None = None) -> grpc.aio.Channel:
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
    # As a dictionary: of an option that is given twice, gRPC takes the first.
    options = {**dict(_SERVER), "grpc.max_receive_message_length": max_message_bytes, **dict(extra or [])}
    return grpc.aio.server(interceptors=list(interceptors), options=list(options.items()))


async def frames(messages: AsyncIterable[Any]) -> AsyncIterator[Any]:
    """The frames of messages that carry several each, one by one."""
    async for message in messages:
        for frame in message.frames:
            yield frame


def bind(server: grpc.aio.Server, address: str, tls: Tls | None = None) -> int:
    """Binds and returns the port. Raises RuntimeError when the address is taken."""
    if tls is None:
        return server.add_insecure_port(address)
    credentials = grpc.ssl_server_credentials(
        [(tls.key.read_bytes(), tls.certificate.read_bytes())],
        tls.authority.read_bytes(),
        require_client_auth=True,
    )
    return server.add_secure_port(address, credentials)
