"""The Open Inference Protocol (KServe's v2): what it is told of server and models, over gRPC and REST alike.

https://github.com/kserve/open-inference-protocol. Its tensors are not offered: a chat has no shape.
"""

from collections.abc import Callable
from typing import Any

from services.gateway.domain.account import Caller
from services.gateway.domain.catalog import Catalog
from services.shared.errors import MethodNotAllowed, NotFound

NAME = "tidegate"
PLATFORM = "tidegate_llm"
IN_TEXT: dict[str, Any] = {"name": "text", "datatype": "BYTES", "shape": [1]}
OUT_TEXT: dict[str, Any] = {"name": "text", "datatype": "BYTES", "shape": [-1]}


class OpenInference:
    """catalog: raises StoreUnavailable while there is none. trouble: why the server is not ready, or None."""

    def __init__(self, version: str, catalog: Callable[[], Catalog], trouble: Callable[[], str | None]) -> None:
        self._version, self._catalog, self._trouble = version, catalog, trouble

    @property
    def ready(self) -> bool:
        return self._trouble() is None

    def server(self) -> dict[str, Any]:
        return {"name": NAME, "version": self._version, "extensions": []}

    def model(self, name: str, version: str, caller: Caller) -> dict[str, Any]:
        """Raises UnknownModel, NotFound, StoreUnavailable."""
        served = self._versions(name, version, caller)
        tensors = {"inputs": [IN_TEXT], "outputs": [OUT_TEXT]}
        return {"name": name, "versions": list(served), "platform": PLATFORM, **tensors}

    def model_ready(self, name: str, version: str, caller: Caller) -> bool:
        """Some worker takes requests for it. Raises UnknownModel, NotFound, StoreUnavailable."""
        self._versions(name, version, caller)
        catalog = self._catalog()
        return bool(catalog.addresses[catalog.models[name].pool])

    def _versions(self, name: str, version: str, caller: Caller) -> tuple[str, ...]:
        catalog = self._catalog()
        served = catalog.versions[catalog.model(name, caller).pool]
        if version and version not in served:
            raise NotFound(f"The model '{name}' is not served in that version.", param="version")
        return served


def no_tensors() -> MethodNotAllowed:
    return MethodNotAllowed(
        "Text is not generated over the Open Inference Protocol: use tidegate.inference.v1.InferenceService over gRPC, "
        "or /v1/chat/completions over REST."
    )
