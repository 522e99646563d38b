"""The models that clients may ask for: pools and their adapters, as the router last told them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from services.gateway.domain.account import Caller
from services.shared.errors import UnknownModel
from tidegate.router.v1 import router_pb2


@dataclass(frozen=True, slots=True)
class Model:
    """One name that clients may send: a pool, or one of its adapters as `pool:adapter`.

    Args:
        adapter: empty for the pool itself.
        context_tokens: of prompt and answer together; 0: not known.
        created: seconds since 1970.
    """

    id: str
    pool: str
    adapter: str
    context_tokens: int
    created: int

    def entry(self) -> dict[str, str | int]:
        """The model as OpenAI lists it; `max_model_len` is what vLLM's clients look for."""
        return {
            "id": self.id,
            "object": "model",
            "created": self.created,
            "owned_by": "tidegate",
            "max_model_len": self.context_tokens,
        }


@dataclass(frozen=True, slots=True)
class Catalog:
    """All models.

    Args:
        models: by the name that clients send.
        addresses: some of the ready workers, host:port, by pool.
        versions: of the model that these workers serve, by pool.
    """

    models: dict[str, Model] = field(default_factory=dict)
    addresses: dict[str, tuple[str, ...]] = field(default_factory=dict)
    versions: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of_pools(cls, pools: Iterable[router_pb2.Pool]) -> "Catalog":
        """Reads the router's message."""
        pools = list(pools)
        return cls(
            {model.id: model for pool in pools for model in _models(pool)},
            {pool.name: tuple(pool.worker_addresses) for pool in pools},
            {pool.name: tuple(pool.model_versions) for pool in pools},
        )

    def open_to(self, caller: Caller) -> list[Model]:
        """The models that the caller may use."""
        return [model for model in self.models.values() if caller.may_use(model.id)]

    def model(self, name: str, caller: Caller) -> Model:
        """Returns a model by its name.

        Raises:
            UnknownModel: it does not exist, or the caller may not use it.
        """
        if (found := self.models.get(name)) and caller.may_use(found.id):
            return found
        shown = name if len(name) <= 64 else f"{name[:64]}..."
        raise UnknownModel(f"The model '{shown}' does not exist or you do not have access to it.", param="model")


def _models(pool: router_pb2.Pool) -> Iterator[Model]:
    for adapter in ("", *pool.adapters):
        name = f"{pool.name}:{adapter}" if adapter else pool.name
        yield Model(name, pool.name, adapter, pool.context_tokens, pool.created)
