"""An answer as one document, for whoever does not want it streamed."""

from typing import Any

from services.gateway.generation.token_stream import TokenStream
from services.gateway.openai.documents import DocumentBuilder
from services.gateway.openai.sse import GenerationHeader
from tidegate.worker.v1 import worker_pb2


async def gather(answer: TokenStream, whole: DocumentBuilder) -> dict[str, Any]:
    """Reads an answer that has begun to its end. Raises TidegateError."""

    def add(deltas: list[worker_pb2.Delta]) -> bool:
        whole.add(deltas)
        return True

    answer.deliver_to(add)
    while deltas := await answer.read():
        add(deltas)
    return whole.document(head_of(answer), answer.usage)


def head_of(answer: TokenStream) -> GenerationHeader:
    asked = answer.generation
    return GenerationHeader(asked.id, asked.created, asked.model.id, answer.service_class.label, answer.version)
