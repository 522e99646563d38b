"""Reads what clients ask: every request body becomes its model here, and what was left out of it is noted."""

from typing import Any, Protocol, TypeVar

from services.gateway.metrics import Metrics
from services.gateway.openai import validation
from services.gateway.openai.fields import Request

R = TypeVar("R", bound=Request)


class Asker(Protocol):
    """Whoever sent a body, over REST, over gRPC, or as a line of a batch.

    Attributes:
        ignored: value of the header that names what was left out; empty if nothing was.
    """

    ignored: str

    @property
    def strict(self) -> bool:
        """Whether unknown fields at the top level are to be refused."""
        ...


class RequestReader:
    """Validates bodies by the one rule."""

    def __init__(self, metrics: Metrics, *, strict: bool) -> None:
        """Makes the reader.

        Args:
            metrics: counts the fields that were left out.
            strict: every request is strict, whoever asks.
        """
        self._metrics, self._strict = metrics, strict

    def read(self, kind: type[R], document: dict[str, Any], asker: Asker) -> R:
        """Returns a decoded body as its model, and tells the asker what was left out.

        Raises:
            InvalidRequest: the body is wrong; the error names the parameter most at fault.
        """
        request, ignored = validation.accept(kind, document, strict=self._strict or asker.strict)
        if ignored.paths:
            asker.ignored = ignored.header()
            self._metrics.left_out(ignored.labels)
        return request
