"""The public InferenceService: the same answers as REST, as typed messages."""

from collections.abc import Iterable
from typing import Any

from services.gateway.answer import Answer, Answers
from services.gateway.asking import Asking
from services.gateway.generation import Generation
from services.gateway.openai.finish import FINISH_REASONS
from services.gateway.rpc import requests
from services.gateway.rpc.call import Call, Calls
from tidegate.inference.v1 import inference_pb2, inference_pb2_grpc
from tidegate.worker.v1 import worker_pb2

Response = type[inference_pb2.ChatResponse] | type[inference_pb2.CompleteResponse]


class InferenceService(inference_pb2_grpc.InferenceServiceServicer):
    def __init__(self, calls: Calls, asking: Asking, answers: Answers) -> None:
        self._calls, self._asking, self._answers = calls, asking, answers

    async def Chat(self, request: inference_pb2.ChatRequest, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        async with self._calls.open(context) as call:
            generation = self._asking.chat(requests.chat(request), call, context.time_remaining())
            await self._answer(call, generation, inference_pb2.ChatResponse, _chat_choices)

    async def Complete(self, request: inference_pb2.CompleteRequest, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        async with self._calls.open(context) as call:
            generation = self._asking.completion(requests.completion(request), call, context.time_remaining())
            await self._answer(call, generation, inference_pb2.CompleteResponse, _complete_choices)

    async def ListModels(  # noqa: N802
        self, request: inference_pb2.ListModelsRequest, context: Any
    ) -> inference_pb2.ListModelsResponse:
        models = []
        async with self._calls.open(context) as call:
            models = [
                inference_pb2.Model(
                    id=model.id, created=model.created, owned_by="tidegate", context_tokens=model.context_tokens
                )
                for model in self._asking.catalog().models.values()
            ]
            await call.greet()
        return inference_pb2.ListModelsResponse(models=models)

    async def _answer(self, call: Call, generation: Generation, kind: Response, choices_of: Any) -> None:
        """A client that cancels cancels this task, and leaving the block frees its slot."""
        call.model = generation.model.id
        with self._answers.open(generation) as answer:
            await answer.begin()
            await call.greet(answer.version or "none")
            head = _head(answer)
            while deltas := await answer.read():
                if choices := choices_of(deltas):
                    await call.context.write(kind(choices=choices, **head))
            await call.context.write(kind(usage=_usage(answer.usage), **head))


def _head(answer: Answer) -> dict[str, Any]:
    asked = answer.generation
    return {
        "id": asked.id,
        "created": asked.created,
        "model": asked.model.id,
        "service_tier": answer.service_class.label,
    }


def _chat_choices(deltas: Iterable[worker_pb2.Delta]) -> list[inference_pb2.ChatChoice]:
    return [
        inference_pb2.ChatChoice(
            index=delta.choice, content=delta.text, finish_reason=FINISH_REASONS[delta.finish_reason] or ""
        )
        for delta in deltas
        if delta.text or delta.finish_reason
    ]


def _complete_choices(deltas: Iterable[worker_pb2.Delta]) -> list[inference_pb2.CompleteChoice]:
    return [
        inference_pb2.CompleteChoice(
            index=delta.choice, text=delta.text, finish_reason=FINISH_REASONS[delta.finish_reason] or ""
        )
        for delta in deltas
        if delta.text or delta.finish_reason
    ]


def _usage(used: worker_pb2.Usage) -> inference_pb2.Usage:
    return inference_pb2.Usage(
        prompt_tokens=used.prompt_tokens,
        cached_tokens=used.cached_tokens,
        completion_tokens=used.completion_tokens,
    )
