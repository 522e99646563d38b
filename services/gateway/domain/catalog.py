"""The models that clients may ask for: pools and their adapters, as the router last told them."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from services.gateway.domain.account import Caller
from services.shared.errors import InvalidRequest, UnknownModel
from tidegate.router.v1 import router_pb2


@dataclass(frozen=True, slots=True)
class Model:
    """One name that clients may send: a pool, or one of its adapters as `pool:adapter`.

    Args:
        adapter: empty for the pool itself.
        context_tokens: of prompt and answer together; 0: not known.
        created: seconds since 1970.
        ttft_objectives_s: for the time to first token, by the rank of the class; empty: not known.
        embeds: makes vectors and no text.
    """

    id: str
    pool: str
    adapter: str
    context_tokens: int
    created: int
    ttft_objectives_s: tuple[float, ...] = ()
    embeds: bool = False

    def entry(self) -> dict[str, str | int]:
        """The model as OpenAI lists it. vLLM's clients look for `max_model_len` and, of an adapter, `parent`."""
        entry: dict[str, str | int] = {
            "id": self.id,
            "object": "model",
            "created": self.created,
            "owned_by": "tidegate",
            "max_model_len": self.context_tokens,
        }
        return entry | {"parent": self.pool} if self.adapter else entry


@dataclass(frozen=True, slots=True)
class Catalog:
    """All models.

    Args:
        models: by the name that clients send.
        addresses: some of the ready workers, host:port, by pool.
        versions: of the model that these workers serve, by pool.
        refused: why an adapter cannot be served, by the name that clients send.
    """

    models: dict[str, Model] = field(default_factory=dict)
    addresses: dict[str, tuple[str, ...]] = field(default_factory=dict)
    versions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    # Adapters by their own names, where no pool has that name and only one pool serves the adapter.
    _by_own_name: dict[str, Model] = field(default_factory=dict)

    @classmethod
    def of_pools(cls, pools: Iterable[router_pb2.Pool]) -> "Catalog":
        """Reads the router's message."""
        pools = list(pools)
        models = {model.id: model for pool in pools for model in _models(pool)}
        return cls(
            models,
            {pool.name: tuple(pool.worker_addresses) for pool in pools},
            {pool.name: tuple(pool.model_versions) for pool in pools},
            {f"{pool.name}:{refused.name}": refused.reason for pool in pools for refused in pool.refused_adapters},
            _by_own_name(models),
        )

    def open_to(self, caller: Caller) -> list[Model]:
        """The models that the caller may use."""
        return [model for model in self.models.values() if caller.may_use(model.id)]

    def model(self, name: str, caller: Caller) -> Model:
        """Returns a model by its name: a pool, `pool:adapter`, or an adapter that only one pool serves.

        Raises:
            UnknownModel: it does not exist, or the caller may not use it.
            InvalidRequest: it is an adapter that its pool cannot serve.
        """
        found = self.models.get(name) or self._by_own_name.get(name)
        if found and caller.may_use(found.id):
            return found
        if (reason := self.refused.get(name)) and caller.may_use(name):
            raise InvalidRequest(f"The adapter '{name}' cannot be served: {reason}", param="model")
        shown = name if len(name) <= 64 else f"{name[:64]}..."
        raise UnknownModel(f"The model '{shown}' does not exist or you do not have access to it.", param="model")


def _models(pool: router_pb2.Pool) -> Iterator[Model]:
    objectives_s = tuple(ms / 1000 for ms in pool.ttft_objectives_ms)
    for adapter in ("", *pool.adapters):
        name = f"{pool.name}:{adapter}" if adapter else pool.name
        yield Model(name, pool.name, adapter, pool.context_tokens, pool.created, objectives_s, pool.embeds)


def _by_own_name(models: dict[str, Model]) -> dict[str, Model]:
    pools_of = Counter(model.adapter for model in models.values())
    return {
        model.adapter: model
        for model in models.values()
        if model.adapter and pools_of[model.adapter] == 1 and model.adapter not in models
    }
