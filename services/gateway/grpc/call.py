"""One public gRPC call from its beginning to its end: its id, its caller, its status, and its count in the metrics."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import grpc

from services.gateway.accounts.authentication import Authentication
from services.gateway.accounts.key_headers import KEY_HEADERS
from services.gateway.domain.account import Caller
from services.gateway.metrics import UNKNOWN_MODEL, Metrics
from services.gateway.openai.canary_header import HEADER as CANARY_HEADER
from services.gateway.openai.canary_header import asks_for_canary
from services.gateway.openai.ignored_fields import HEADER as IGNORED
from services.gateway.openai.ignored_fields import STRICT_HEADER
from services.gateway.openai.limit_headers import Headers
from services.gateway.response_cache.policy import HEADER, CacheDirective
from services.shared.clock import Clock
from services.shared.errors import ClientLeft, InternalError, TidegateError
from tidegate.inference.v1 import inference_pb2

log = logging.getLogger(__name__)

DETAIL = "tidegate-error-bin"


@dataclass(slots=True)
class Call:
    """One call.

    Attributes:
        request_id: 32 hexadecimal digits, made by this gateway.
        context: grpc's own.
        caller: who calls.
        model: name of the model in the catalog, once it is known.
        metadata_sent: whether the initial metadata was sent.
        limits: metadata that tells the state of the caller's limits.
        cache_directive: what the call asks of the response cache, and what came of it.
        strict: whether the call asks that unknown fields be refused.
        ignored: metadata that names what was left out of the request.
        wants_canary: whether the call asks for the version that is on trial.
        traceparent: W3C trace context of the client; empty: it sent none.
    """

    request_id: str
    context: Any
    caller: Caller | None = None
    model: str = UNKNOWN_MODEL
    metadata_sent: bool = False
    limits: Headers = field(default_factory=list)
    cache_directive: CacheDirective | None = None
    strict: bool = False
    ignored: str = ""
    traceparent: str = ""
    wants_canary: bool = False

    async def send_metadata(self, version: str = "none") -> None:
        """Sends the initial metadata, before the first message or the status. A second call does nothing.

        Args:
            version: of the model's weights.
        """
        if not self.metadata_sent:
            self.metadata_sent = True
            cached = ((HEADER, self.cache_directive.outcome),) if self.cache_directive else ()
            ignored = ((IGNORED, self.ignored),) if self.ignored else ()
            first = (("x-request-id", self.request_id), ("x-tidegate-model-version", version))
            await self.context.send_initial_metadata((*first, *self.limits, *cached, *ignored))


class Calls:
    """Opens calls."""

    def __init__(self, keys: Authentication, metrics: Metrics, clock: Clock, random: Random) -> None:
        self._keys, self._metrics, self._clock, self._random = keys, metrics, clock, random

    @asynccontextmanager
    async def open(self, context: Any) -> AsyncIterator[Call]:
        """Checks the key, and turns errors into statuses. Every call is counted, whatever comes of it."""
        call = Call(f"{self._random.getrandbits(128):032x}", context)
        started = self._clock.monotonic()
        metadata = _metadata(context)
        status = ClientLeft("").wire.http
        try:
            call.caller = await self._keys.authenticate(_key_headers(context))
            call.cache_directive = CacheDirective.of(metadata.get(HEADER))
            call.traceparent = metadata.get("traceparent", "")
            call.strict = metadata.get(STRICT_HEADER) == "true"
            call.wants_canary = asks_for_canary(metadata.get(CANARY_HEADER))
            yield call
            status = 200
        except TidegateError as error:
            status = error.wire.http
            await _abort(call, error)
        except Exception:
            log.exception("request failed", extra={"request_id": call.request_id})
            status = 500
            await _abort(call, InternalError())
        finally:
            self._metrics.answered(call.model, status, self._clock.monotonic() - started)


def _key_headers(context: Any) -> list[tuple[str, str]]:
    """A name that is there twice counts twice."""
    return [(name, value) for name, value in context.invocation_metadata() or () if name in KEY_HEADERS]


def _metadata(context: Any) -> dict[str, str]:
    return {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}


async def _abort(call: Call, error: TidegateError) -> None:
    await call.send_metadata()
    fields = error.body()["error"]
    detail = inference_pb2.OpenAIError(**{name: value or "" for name, value in fields.items()})
    trailing: list[tuple[str, str | bytes]] = [(DETAIL, detail.SerializeToString()), *call.limits]
    if error.retry_after_s is not None:
        trailing.append(("grpc-retry-pushback-ms", str(int(error.retry_after_s * 1000))))
    await call.context.abort(grpc.StatusCode[error.wire.grpc], error.message, tuple(trailing))
