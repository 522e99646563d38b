"""The public InferenceService: the same answers as REST, as typed messages."""

import asyncio
from typing import Any

import orjson

from services.gateway.domain.generation import Generation
from services.gateway.generation.event_stream import GenerationHeader
from services.gateway.generation.token_stream import TokenStream
from services.gateway.grpc import request_documents, response_messages
from services.gateway.grpc.call import Call, Calls
from services.gateway.openai.limit_headers import limit_headers
from services.gateway.openai.request_builder import RequestBuilder, identified
from services.gateway.response_cache.cached_generations import CachedGenerations
from services.gateway.resume.resumable_stream import StreamRecorder
from services.gateway.resume.resuming import Resuming, Resumption
from services.shared.errors import ClientLeft
from tidegate.inference.v1 import inference_pb2, inference_pb2_grpc
from tidegate.worker.v1 import worker_pb2

Message = inference_pb2.ChatResponse | inference_pb2.CompleteResponse
Response = type[inference_pb2.ChatResponse] | type[inference_pb2.CompleteResponse]


class InferenceService(inference_pb2_grpc.InferenceServiceServicer):
    def __init__(
        self,
        calls: Calls,
        asking: RequestBuilder,
        answers: CachedGenerations,
        resuming: Resuming,
        stall_timeout_s: float,
    ) -> None:
        self._calls, self._asking, self._answers, self._resuming = calls, asking, answers, resuming
        self._stall_timeout_s = stall_timeout_s

    async def Chat(self, request: inference_pb2.ChatRequest, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        async with self._calls.open(context) as call:
            generation = self._asking.chat(request_documents.chat(request), call, context.time_remaining())
            kept = self._kept(request, generation)
            await self._answer(call, generation, inference_pb2.ChatResponse, response_messages.chat_choices, kept)

    async def Complete(self, request: inference_pb2.CompleteRequest, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        async with self._calls.open(context) as call:
            generation = self._asking.completion(request_documents.completion(request), call, context.time_remaining())
            kept = self._kept(request, generation)
            await self._answer(
                call, generation, inference_pb2.CompleteResponse, response_messages.complete_choices, kept
            )

    async def Embed(  # noqa: N802
        self, request: inference_pb2.EmbedRequest, context: Any
    ) -> inference_pb2.EmbedResponse:
        async with self._calls.open(context) as call:
            self._asking.embed(request_documents.embedding(request), call)
        return inference_pb2.EmbedResponse()

    async def Tokenize(  # noqa: N802
        self, request: inference_pb2.TokenizeRequest, context: Any
    ) -> inference_pb2.TokenizeResponse:
        answer = inference_pb2.TokenizeResponse()
        async with self._calls.open(context) as call:
            model, token_ids = await self._asking.tokenize(request_documents.tokenizing(request), call)
            answer = inference_pb2.TokenizeResponse(token_ids=token_ids, context_tokens=model.context_tokens)
            await call.greet()
        return answer

    async def Detokenize(  # noqa: N802
        self, request: inference_pb2.DetokenizeRequest, context: Any
    ) -> inference_pb2.DetokenizeResponse:
        answer = inference_pb2.DetokenizeResponse()
        async with self._calls.open(context) as call:
            answer = inference_pb2.DetokenizeResponse(
                text=await self._asking.detokenize(request_documents.detokenizing(request), call)
            )
            await call.greet()
        return answer

    async def ListModels(  # noqa: N802
        self, request: inference_pb2.ListModelsRequest, context: Any
    ) -> inference_pb2.ListModelsResponse:
        models = []
        async with self._calls.open(context) as call:
            models = [
                inference_pb2.Model(
                    id=model.id, created=model.created, owned_by="tidegate", context_tokens=model.context_tokens
                )
                for model in self._asking.catalog().open_to(identified(call))
            ]
            await call.greet()
        return inference_pb2.ListModelsResponse(models=models)

    def _kept(self, request: request_documents.Generating, generation: Generation) -> Resumption | None:
        """Raises InvalidRequest for an event id that is none of this request's."""
        if not (request.resumable or request.last_event_id):
            return None
        name = orjson.dumps([generation.caller.tenant, request_documents.digest(request).hex()])
        return self._resuming.open(generation, name, request.last_event_id)

    async def _answer(
        self, call: Call, generation: Generation, kind: Response, choices_of: Any, kept: Resumption | None
    ) -> None:
        """A client that cancels cancels this task, and leaving the block frees its slot."""
        call.model = generation.model.id
        progress = await kept.progress() if kept else None
        with self._answers.open(generation, progress, None if kept else call.wish) as answer:
            await _begin(answer, call)
            await call.greet(answer.version or "none")
            head = _head(kept.header(answer) if kept else GenerationHeader.of(answer))
            trail = kept.recorder(answer) if kept else None
            try:
                while deltas := await answer.read():
                    event_id = _event_id(trail, deltas)
                    if choices := choices_of(deltas):
                        await self._write(call, kind(choices=choices, event_id=event_id, **head))
            finally:
                if trail:
                    trail.end()
            await self._write(call, kind(usage=response_messages.usage(answer.usage), **head))

    async def _write(self, call: Call, message: Message) -> None:
        """Raises ClientLeft when nothing was read for the stall time-out."""
        try:
            async with asyncio.timeout(self._stall_timeout_s):
                await call.context.write(message)
        except TimeoutError:
            raise ClientLeft("The client stopped reading.") from None


async def _begin(answer: TokenStream, call: Call) -> None:
    try:
        await answer.begin()
    finally:
        call.limits = limit_headers(answer.limits)


def _head(head: GenerationHeader) -> dict[str, Any]:
    return {"id": head.id, "created": head.created, "model": head.model, "service_tier": head.service_tier}


def _event_id(trail: StreamRecorder | None, deltas: list[worker_pb2.Delta]) -> str:
    if trail is None:
        return ""
    for delta in deltas:
        trail.append(delta)
    return trail.event_id().decode()
