"""What binding schemas may cost in one request."""

from collections.abc import Iterator
from contextlib import contextmanager

from services.gateway.openai.schemas.problem import SchemaProblem

MAX_PARTS = 4096
"""Schemas within the bound schemas of a request. References that are copied can make them larger than the text."""
MAX_DEPTH = 64


class Budget:
    """How much binding may still cost in one request."""

    def __init__(self, parts: int = MAX_PARTS) -> None:
        self._parts, self._depth = parts, 0

    @contextmanager
    def deeper(self, path: str) -> Iterator[None]:
        """Counts a part of a schema, and how deep it is, whatever references lead to.

        Raises:
            SchemaProblem: it is one too many.
        """
        self._parts, self._depth = self._parts - 1, self._depth + 1
        try:
            if self._parts < 0 or self._depth > MAX_DEPTH:
                raise SchemaProblem("$ref", path, "leads to a schema that is too large or has no end")
            yield
        finally:
            self._depth -= 1
