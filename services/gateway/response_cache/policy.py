"""Which requests may be answered from the response cache, what asks for it, and the key of an answer."""

import hashlib
from dataclasses import dataclass
from typing import Literal

from services.gateway.domain.catalog import Catalog
from services.gateway.domain.generation import Generation
from services.shared.errors import InvalidRequest
from tidegate.worker.v1 import worker_pb2

HEADER = "x-tidegate-cache"
USE = "use"
CacheOutcome = Literal["hit", "miss", "bypass"]


@dataclass(slots=True)
class CacheDirective:
    """A client asks to be answered from the cache: one header, the same over REST and gRPC.

    Attributes:
        outcome: what became of it; `bypass` where the request may not come from the cache.
    """

    outcome: CacheOutcome = "bypass"

    @classmethod
    def of(cls, header: str | None) -> "CacheDirective | None":
        """Reads the header's value; None without the header.

        Raises:
            InvalidRequest: the value is not `use`.
        """
        if header is None:
            return None
        if header != USE:
            raise InvalidRequest(f"The header {HEADER} can only say '{USE}'.", param=HEADER, code="invalid_value")
        return cls()


def deterministic(sampling: worker_pb2.Sampling) -> bool:
    """The same request has the same answer: nothing is drawn at random, or all is drawn from the client's own seed."""
    return sampling.HasField("seed") or (sampling.HasField("temperature") and sampling.temperature == 0)


def cacheable(sampling: worker_pb2.Sampling) -> bool:
    """The answer can be kept: it is the same each time, and shows nothing of the prompt, which is not kept."""
    shows_prompt = sampling.return_prompt_token_ids or sampling.HasField("prompt_logprobs")
    return deterministic(sampling) and not shows_prompt


def served_version(generation: Generation, catalog: Catalog) -> str | None:
    """The model version that all workers of the pool serve; None while there are several, or for an adapter."""
    versions = catalog.versions.get(generation.model.pool, ())
    return versions[0] if len(versions) == 1 and not generation.model.adapter else None


def cache_key(generation: Generation, version: str) -> bytes:
    """A digest of everything that decides the answer, as validated, and of the tenant that it belongs to."""
    digest = hashlib.sha256()
    for part in (
        generation.caller.tenant.encode(),
        generation.model.id.encode(),
        version.encode(),
        type(generation.prompt).__name__.encode(),
        _prompt_bytes(generation),
        generation.sampling.SerializeToString(deterministic=True),
    ):
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest.digest()


def _prompt_bytes(generation: Generation) -> bytes:
    prompt = generation.prompt
    return prompt.encode() if isinstance(prompt, str) else prompt.SerializeToString(deterministic=True)
