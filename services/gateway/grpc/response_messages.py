"""Deltas of workers as messages of the public gRPC API."""

from collections.abc import Iterable

from services.gateway.generation.progress import VersionSpan
from services.gateway.generation.token_stream import TokenStream
from services.gateway.openai.completion_fields import FINISH_REASONS
from services.gateway.openai.embedding_document import numbers
from tidegate.inference.v1 import inference_pb2
from tidegate.worker.v1 import worker_pb2


def chat_choices(deltas: Iterable[worker_pb2.Delta]) -> list[inference_pb2.ChatChoice]:
    """Returns the choices that some deltas add to; deltas with nothing to show are left out."""
    return [_chat_choice(delta) for delta in deltas if _shows(delta)]


def complete_choices(deltas: Iterable[worker_pb2.Delta]) -> list[inference_pb2.CompleteChoice]:
    """Returns the choices that some deltas add to; deltas with nothing to show are left out."""
    return [_complete_choice(delta) for delta in deltas if _shows(delta)]


async def embeddings(stream: TokenStream) -> inference_pb2.EmbedResponse:
    """Reads a stream that has begun to its end, and returns its vectors. Raises TidegateError."""
    vectors: dict[int, bytes] = {}
    while deltas := await stream.read():
        vectors.update({delta.choice: delta.embedding for delta in deltas})
    return inference_pb2.EmbedResponse(
        embeddings=[inference_pb2.Embedding(values=numbers(vectors[index])) for index in sorted(vectors)],
        usage=usage(stream.usage),
        model=stream.generation.model.id,
    )


def usage(used: worker_pb2.Usage) -> inference_pb2.Usage:
    """Returns token counts."""
    return inference_pb2.Usage(
        prompt_tokens=used.prompt_tokens,
        cached_tokens=used.cached_tokens,
        completion_tokens=used.completion_tokens,
    )


def version_spans(spans: Iterable[VersionSpan]) -> list[inference_pb2.VersionSpan]:
    """Returns which tokens came from which version of the model."""
    return [
        inference_pb2.VersionSpan(
            choice=span.choice, model_version=span.version, first_token=span.first_token, tokens=span.tokens
        )
        for span in spans
    ]


def _shows(delta: worker_pb2.Delta) -> bool:
    return bool(delta.text or delta.finish_reason or delta.reasoning or delta.tool_calls or delta.logprobs)


def _chat_choice(delta: worker_pb2.Delta) -> inference_pb2.ChatChoice:
    choice = inference_pb2.ChatChoice(
        index=delta.choice,
        content=delta.text,
        reasoning=delta.reasoning,
        finish_reason=FINISH_REASONS[delta.finish_reason] or "",
    )
    # Rare, so they cost the common delta nothing.
    if delta.tool_calls:
        choice.tool_calls.extend(map(_tool_call, delta.tool_calls))
    if delta.logprobs:
        choice.logprobs.extend(map(_logprob, delta.logprobs))
    return choice


def _complete_choice(delta: worker_pb2.Delta) -> inference_pb2.CompleteChoice:
    choice = inference_pb2.CompleteChoice(
        index=delta.choice, text=delta.text, finish_reason=FINISH_REASONS[delta.finish_reason] or ""
    )
    if delta.logprobs:
        choice.logprobs.extend(map(_logprob, delta.logprobs))
    return choice


def _tool_call(call: worker_pb2.ToolCallDelta) -> inference_pb2.ToolCallDelta:
    return inference_pb2.ToolCallDelta(index=call.index, id=call.id, name=call.name, arguments=call.arguments)


def _logprob(token: worker_pb2.TokenLogprob) -> inference_pb2.TokenLogprob:
    top = [inference_pb2.TopLogprob(token=top.token, logprob=top.logprob) for top in token.top]
    return inference_pb2.TokenLogprob(token=token.token, logprob=token.logprob, top=top)
