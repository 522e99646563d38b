"""From a decoded request to a Generation: the one way in, for REST and gRPC."""

from collections.abc import Callable
from typing import Any, Protocol

from services.gateway.catalog import Catalog
from services.gateway.generation import Generation, Mint, of_chat, of_completion
from services.gateway.keys import DEFAULT_TENANT, Caller
from services.gateway.openai import invalid
from services.gateway.openai.chat import ChatCompletionRequest
from services.gateway.openai.completions import CompletionRequest
from services.shared.clock import Clock
from services.shared.errors import StoreUnavailable


class Asker(Protocol):
    @property
    def request_id(self) -> str: ...
    @property
    def caller(self) -> Caller | None: ...


class Asking:
    def __init__(self, latest: Callable[[], Catalog | None], clock: Clock, timeout_s: float) -> None:
        """latest: the catalog as last heard from a router; None when none was ever heard."""
        self._latest, self._clock, self._timeout_s = latest, clock, timeout_s

    def catalog(self) -> Catalog:
        """Raises StoreUnavailable while no router has said what there is."""
        if (catalog := self._latest()) is None:
            raise StoreUnavailable("The gateway has no connection to a router yet.", retry_after_s=1.0)
        return catalog

    def chat(self, document: dict[str, Any], asker: Asker, timeout_s: float | None = None) -> Generation:
        """Raises InvalidRequest, UnknownModel, ContextLengthExceeded, StoreUnavailable."""
        request = invalid.check(ChatCompletionRequest, document)
        return of_chat(request, self.catalog(), self._mint(asker, timeout_s))

    def completion(self, document: dict[str, Any], asker: Asker, timeout_s: float | None = None) -> Generation:
        """Raises InvalidRequest, UnknownModel, ContextLengthExceeded, StoreUnavailable."""
        request = invalid.check(CompletionRequest, document)
        return of_completion(request, self.catalog(), self._mint(asker, timeout_s))

    def _mint(self, asker: Asker, timeout_s: float | None) -> Mint:
        tenant = asker.caller.tenant if asker.caller else DEFAULT_TENANT
        return Mint(asker.request_id, self._clock.wall(), tenant, min(timeout_s or self._timeout_s, self._timeout_s))
