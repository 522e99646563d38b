"""An answer as one document, for whoever does not want it streamed."""

from typing import Any

from services.gateway.answers.readable import Readable
from services.gateway.openai.sse import Head
from services.gateway.openai.whole import Whole
from tidegate.worker.v1 import worker_pb2


async def gather(answer: Readable, whole: Whole) -> dict[str, Any]:
    """Reads an answer that has begun to its end. Raises TidegateError."""

    def add(deltas: list[worker_pb2.Delta]) -> bool:
        whole.add(deltas)
        return True

    while deltas := await answer.read(add):
        add(deltas)
    return whole.document(head_of(answer), answer.usage)


def head_of(answer: Readable) -> Head:
    asked = answer.generation
    return Head(asked.id, asked.created, asked.model.id, answer.service_class.label, answer.version)
