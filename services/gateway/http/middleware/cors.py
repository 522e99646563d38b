"""Browsers' cross-origin rules: which web pages of other origins may call the API."""

from collections.abc import Collection

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
PREFLIGHT_KEPT_S = 600
# The star covers all headers in browsers that know it, the names those that older ones must be told.
EXPOSED_HEADERS = (
    "*",
    "x-request-id",
    "request-id",
    "x-tidegate-model-version",
    "x-tidegate-cache",
    "x-tidegate-ignored",
    "x-ratelimit-limit-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
    "retry-after",
)


def with_cors(app: ASGIApp, origins: Collection[str]) -> ASGIApp:
    """Lets pages of some origins call an application.

    It must be the outermost layer: a browser's preflight has no key, and errors need the headers too.

    Args:
        app: the application with its key check.
        origins: such as https://chat.example.org; `*` is all. Without any, the application stays as it is.
    """
    if not origins:
        return app
    # Keys travel in headers that the page sets itself. Without credentials (cookies), `*` is safe.
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=METHODS,
        allow_headers=("*",),
        allow_private_network=True,
        expose_headers=EXPOSED_HEADERS,
        max_age=PREFLIGHT_KEPT_S,
    )
