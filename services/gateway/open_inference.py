"""The Open Inference Protocol (KServe's v2): what it tells of server and models, over gRPC and REST.

https://github.com/kserve/open-inference-protocol. It has no inference here: its tensors do not suit a chat.
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
    """Answers questions about server and models."""

    def __init__(self, version: str, catalog: Callable[[], Catalog], trouble: Callable[[], str | None]) -> None:
        """Makes the answerer.

        Args:
            version: of Tidegate.
            catalog: returns the catalog; raises StoreUnavailable while there is none.
            trouble: returns why the server is not ready; None if it is.
        """
        self._version, self._catalog, self._trouble = version, catalog, trouble

    @property
    def ready(self) -> bool:
        """Whether the server takes requests."""
        return self._trouble() is None

    def server(self) -> dict[str, Any]:
        """Returns the server's metadata."""
        return {"name": NAME, "version": self._version, "extensions": []}

    def model(self, name: str, version: str, caller: Caller) -> dict[str, Any]:
        """Returns a model's metadata.

        Args:
            name: of the model.
            version: of its weights; empty for any.
            caller: who asks.

        Raises:
            UnknownModel: there is no such model for this caller.
            NotFound: the model is not served in that version.
            StoreUnavailable: no router has sent a catalog yet.
        """
        served = self._versions(name, version, caller)
        tensors = {"inputs": [IN_TEXT], "outputs": [OUT_TEXT]}
        return {"name": name, "versions": list(served), "platform": PLATFORM, **tensors}

    def model_ready(self, name: str, version: str, caller: Caller) -> bool:
        """Returns whether some worker takes requests for a model. Arguments and errors are those of `model`."""
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
    """Returns the error that answers requests for inference."""
    return MethodNotAllowed(
        "Text is not generated over the Open Inference Protocol: use tidegate.inference.v1.InferenceService over gRPC, "
        "or /v1/chat/completions over REST."
    )
