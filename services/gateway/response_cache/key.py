"""Which requests may be answered from the cache, and under which key their answer lies."""

import hashlib

from services.gateway.domain.catalog import Catalog
from services.gateway.domain.generation import Generation
from tidegate.worker.v1 import worker_pb2


def deterministic(sampling: worker_pb2.Sampling) -> bool:
    """The same request has the same answer: nothing is drawn, or all is drawn from the client's own seed."""
    return sampling.HasField("seed") or (sampling.HasField("temperature") and sampling.temperature == 0)


def served_version(generation: Generation, catalog: Catalog) -> str | None:
    """The version that all of its workers serve; None while they serve several, or an adapter beside it."""
    versions = catalog.versions.get(generation.model.pool, ())
    return versions[0] if len(versions) == 1 and not generation.model.adapter else None


def key_of(generation: Generation, version: str) -> bytes:
    """Of all that decides over the answer, in the form that the validator has brought it to; and of whose it is."""
    digest = hashlib.sha256()
    for part in (
        generation.caller.tenant.encode(),
        generation.model.id.encode(),
        version.encode(),
        type(generation.prompt).__name__.encode(),
        _bytes(generation),
        generation.sampling.SerializeToString(deterministic=True),
    ):
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest.digest()


def _bytes(generation: Generation) -> bytes:
    prompt = generation.prompt
    return prompt.encode() if isinstance(prompt, str) else prompt.SerializeToString(deterministic=True)
