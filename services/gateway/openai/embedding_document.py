"""The answer to POST /v1/embeddings."""

import struct
from base64 import b64encode
from collections.abc import Iterable
from typing import Any

from services.gateway.generation.event_stream import GenerationHeader
from tidegate.worker.v1 import worker_pb2

_FLOAT_BYTES = 4


class EmbeddingDocument:
    """Collects the vectors of one request.

    Args:
        inputs: how many inputs it has.
        base64: vectors are shown as base64 of their bytes, 32-bit floats in little-endian order.
    """

    def __init__(self, inputs: int, *, base64: bool) -> None:
        self._vectors = [b""] * inputs
        self._base64 = base64

    def add(self, deltas: Iterable[worker_pb2.Delta]) -> None:
        """Adds the vectors of some inputs."""
        for delta in deltas:
            self._vectors[delta.choice] = delta.embedding

    def document(self, header: GenerationHeader, used: worker_pb2.Usage) -> dict[str, Any]:
        """Returns the list of vectors."""
        return {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": self._shown(vector)}
                for index, vector in enumerate(self._vectors)
            ],
            "model": header.model,
            "usage": {"prompt_tokens": used.prompt_tokens, "total_tokens": used.prompt_tokens},
        }

    def _shown(self, vector: bytes) -> str | list[float]:
        if self._base64:
            return b64encode(vector).decode()
        return list(numbers(vector))


def numbers(vector: bytes) -> tuple[float, ...]:
    """Returns the numbers of a vector as workers send it."""
    return struct.unpack(f"<{len(vector) // _FLOAT_BYTES}f", vector)
