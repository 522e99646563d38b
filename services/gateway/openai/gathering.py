"""An answer as one document, for whoever does not want it streamed."""

from typing import Any

from services.gateway.generation.event_stream import GenerationHeader
from services.gateway.generation.token_stream import TokenStream
from services.gateway.openai.documents import DocumentBuilder
from tidegate.worker.v1 import worker_pb2


async def gather(answer: TokenStream, whole: DocumentBuilder) -> dict[str, Any]:
    """Reads an answer that has begun to its end. Raises TidegateError."""

    def add(deltas: list[worker_pb2.Delta]) -> bool:
        whole.add(deltas)
        return True

    answer.deliver_to(add)
    while deltas := await answer.read():
        add(deltas)
    return whole.document(GenerationHeader.of(answer), answer.usage)
