"""The public InferenceService: what the REST API offers, as typed messages."""

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
    """Serves inference over gRPC."""

    def __init__(
        self,
        calls: Calls,
        builder: RequestBuilder,
        generations: CachedGenerations,
        resuming: Resuming,
        stall_timeout_s: float,
    ) -> None:
        self._calls, self._builder, self._generations, self._resuming = calls, builder, generations, resuming
        self._stall_timeout_s = stall_timeout_s

    async def Chat(self, request: inference_pb2.ChatRequest, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        """Streams a chat completion."""
        async with self._calls.open(context) as call:
            generation = self._builder.chat(request_documents.chat(request), call, context.time_remaining())
            resumption = self._resumption(request, generation)
            await self._stream(call, generation, inference_pb2.ChatResponse, response_messages.chat_choices, resumption)

    async def Complete(self, request: inference_pb2.CompleteRequest, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        """Streams a completion."""
        async with self._calls.open(context) as call:
            document = request_documents.completion(request)
            (generation,) = self._builder.completions(document, call, context.time_remaining())
            resumption = self._resumption(request, generation)
            await self._stream(
                call, generation, inference_pb2.CompleteResponse, response_messages.complete_choices, resumption
            )

    async def Embed(  # noqa: N802
        self, request: inference_pb2.EmbedRequest, context: Any
    ) -> inference_pb2.EmbedResponse:
        """Makes a vector of each input."""
        response = inference_pb2.EmbedResponse()
        async with self._calls.open(context) as call:
            generation, _ = self._builder.embeddings(
                request_documents.embedding(request), call, context.time_remaining()
            )
            call.model = generation.model.id
            with self._generations.open(generation, None, call.cache_directive) as stream:
                await _begin(stream, call)
                response = await response_messages.embeddings(stream)
                await call.send_metadata(stream.version or "none")
        return response

    async def Tokenize(  # noqa: N802
        self, request: inference_pb2.TokenizeRequest, context: Any
    ) -> inference_pb2.TokenizeResponse:
        """Returns the token ids of a prompt or a chat."""
        response = inference_pb2.TokenizeResponse()
        async with self._calls.open(context) as call:
            model, token_ids, _ = await self._builder.tokenize(request_documents.tokenizing(request), call)
            response = inference_pb2.TokenizeResponse(token_ids=token_ids, context_tokens=model.context_tokens)
            await call.send_metadata()
        return response

    async def Detokenize(  # noqa: N802
        self, request: inference_pb2.DetokenizeRequest, context: Any
    ) -> inference_pb2.DetokenizeResponse:
        """Returns the text of token ids."""
        response = inference_pb2.DetokenizeResponse()
        async with self._calls.open(context) as call:
            response = inference_pb2.DetokenizeResponse(
                text=await self._builder.detokenize(request_documents.detokenizing(request), call)
            )
            await call.send_metadata()
        return response

    async def ListModels(  # noqa: N802
        self, request: inference_pb2.ListModelsRequest, context: Any
    ) -> inference_pb2.ListModelsResponse:
        """Lists the models that the caller may use."""
        models = []
        async with self._calls.open(context) as call:
            models = [
                inference_pb2.Model(
                    id=model.id,
                    created=model.created,
                    owned_by="tidegate",
                    context_tokens=model.context_tokens,
                    parent=model.pool if model.adapter else "",
                )
                for model in self._builder.catalog().open_to(identified(call))
            ]
            await call.send_metadata()
        return inference_pb2.ListModelsResponse(models=models)

    def _resumption(self, request: request_documents.Generating, generation: Generation) -> Resumption | None:
        """Returns how the stream resumes; None if the client asks for no event ids. Raises InvalidRequest."""
        if not (request.resumable or request.last_event_id):
            return None
        identity = orjson.dumps([generation.caller.tenant, request_documents.digest(request).hex()])
        return self._resuming.open(generation, identity, request.last_event_id)

    async def _stream(
        self, call: Call, generation: Generation, kind: Response, choices_of: Any, resumption: Resumption | None
    ) -> None:
        """Streams a generation. If the client cancels, this task is cancelled, and leaving the block frees the slot."""
        call.model = generation.model.id
        progress = await resumption.progress() if resumption else None
        directive = None if resumption else call.cache_directive
        with self._generations.open(generation, progress, directive) as stream:
            await _begin(stream, call)
            await call.send_metadata(stream.version or "none")
            header = _header_fields(resumption.header(stream) if resumption else GenerationHeader.of(stream))
            recorder = resumption.recorder(stream) if resumption else None
            version = stream.version
            try:
                while deltas := await stream.read():
                    changed = stream.version if stream.version != version else ""
                    version = stream.version
                    if changed and recorder:
                        recorder.go_on_with(changed)
                    event_id = _event_id(recorder, deltas)
                    choices = choices_of(deltas)
                    if choices or changed:
                        await self._write(
                            call, kind(choices=choices, event_id=event_id, model_version=changed, **header)
                        )
            finally:
                if recorder:
                    recorder.end()
            used, spans = response_messages.usage(stream.usage), response_messages.version_spans(stream.spans)
            await self._write(call, kind(usage=used, version_spans=spans, **header))

    async def _write(self, call: Call, message: Message) -> None:
        """Raises ClientLeft when the client read nothing for the stall timeout."""
        try:
            async with asyncio.timeout(self._stall_timeout_s):
                await call.context.write(message)
        except TimeoutError:
            raise ClientLeft("The client stopped reading.") from None


async def _begin(stream: TokenStream, call: Call) -> None:
    try:
        await stream.begin()
    finally:
        call.limits = limit_headers(stream.limits)


def _header_fields(header: GenerationHeader) -> dict[str, Any]:
    return {"id": header.id, "created": header.created, "model": header.model, "service_tier": header.service_tier}


def _event_id(recorder: StreamRecorder | None, deltas: list[worker_pb2.Delta]) -> str:
    if recorder is None:
        return ""
    for delta in deltas:
        recorder.append(delta)
    return recorder.event_id().decode()
