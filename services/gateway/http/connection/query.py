"""Query parameters that a path does not have. They are left out and named, as unknown fields of a body are."""

from collections.abc import Container
from urllib.parse import parse_qsl

from starlette.types import Scope

from services.gateway.http.connection.request_context import RequestContext
from services.gateway.openai.ignored_fields import IgnoredFields

LIST = "[]"
"""So the name of a parameter ends of which OpenAI's clients send several values."""


def note_unread(scope: Scope, known: Container[str]) -> None:
    """Notes in the request's context which of its query parameters nobody reads.

    Args:
        scope: of the request.
        known: names of the parameters that the path has.
    """
    if not (query := scope["query_string"]):
        return
    unread = IgnoredFields()
    for name in dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)):
        if name not in known:
            unread.add(name, name.removesuffix(LIST))
    if unread.paths:
        RequestContext.of(scope).unread = unread
