"""Logs as JSON lines on standard error, and `/livez`, `/readyz` and `/metrics` over HTTP."""

import logging
from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from pythonjsonlogger.json import JsonFormatter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

Check = Callable[[], str | None]
"""A health check: None when healthy, else a few words about what is wrong."""


def configure_logging(process: str, level: str = "INFO") -> None:
    """Sends all logs to standard error, as JSON lines that name the process."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        JsonFormatter(
            "{levelname}{name}{message}",
            style="{",
            timestamp=True,
            rename_fields={"levelname": "level", "name": "logger"},
            static_fields={"process": process},
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("httpx", "httpcore", "asyncio", "alembic.runtime.plugins"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def admin_app(live: Check, ready: Check, registry: Collector) -> Starlette:
    """The HTTP application of a process that serves gRPC: only probes and metrics."""

    def probe(check: Check) -> Callable[[Request], Response]:
        def answer(_: Request) -> Response:
            trouble = check()
            return PlainTextResponse(trouble or "ok", status_code=503 if trouble else 200)

        return answer

    def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[
            Route("/livez", probe(live)),
            Route("/readyz", probe(ready)),
            Route("/metrics", metrics),
        ]
    )
