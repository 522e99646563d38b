"""Converts between the frames of worker.proto and the engine's types."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from services.worker.engine.contract import (
    Adapter,
    ChatPrompt,
    ContextTooLong,
    Delta,
    EmbedRequest,
    EngineError,
    EngineRequest,
    InvalidPrompt,
    Prompt,
    ResumePoint,
    Sampling,
    Structure,
    TextPrompt,
    TokenLogprob,
    TokenPrompt,
    Usage,
)
from tidegate.worker.v1 import worker_pb2 as pb

_FINISH = {
    "stop": pb.FINISH_REASON_STOP,
    "length": pb.FINISH_REASON_LENGTH,
    "tool_calls": pb.FINISH_REASON_TOOL_CALLS,
    "content_filter": pb.FINISH_REASON_CONTENT_FILTER,
}


class Name(NamedTuple):
    """Names a request on its gateway's stream.

    It is read once per request: reading it from the Start frame for every token would cost a tenth of the token's time.
    """

    stream_id: int
    attempt: int


def engine_request(
    start: pb.Start, adapter: Adapter | None = None, trace_headers: Mapping[str, str] | None = None
) -> EngineRequest:
    """Converts a Start frame.

    Args:
        start: The frame.
        adapter: The one that it names, loaded.
        trace_headers: W3C trace context, if it is traced.

    Raises:
        InvalidPrompt: The frame has no prompt, or a field is not JSON.
    """
    return EngineRequest(
        request_id=f"{start.request_id}-{start.attempt}",
        prompt=_prompt(start),
        sampling=_sampling(start.sampling),
        resume={p.choice: ResumePoint(tuple(p.token_ids), p.text_offset, p.finished) for p in start.resume},
        cache_salt=start.cache_salt,
        priority=start.priority,
        adapter=adapter,
        trace_headers=trace_headers,
    )


def embed_request(
    start: pb.Start, adapter: Adapter | None = None, trace_headers: Mapping[str, str] | None = None
) -> EmbedRequest:
    """Converts a Start frame whose prompt is inputs. Arguments are those of `engine_request`."""
    return EmbedRequest(
        request_id=f"{start.request_id}-{start.attempt}",
        inputs=tuple(map(_input, start.inputs.inputs)),
        dimensions=start.inputs.dimensions or None,
        sampling=_sampling(start.sampling),
        done=frozenset(point.choice for point in start.resume if point.finished),
        cache_salt=start.cache_salt,
        priority=start.priority,
        adapter=adapter,
        trace_headers=trace_headers,
    )


def _input(given: pb.Input) -> TextPrompt | TokenPrompt:
    return TextPrompt(given.text) if given.WhichOneof("input") == "text" else TokenPrompt(tuple(given.token_ids.ids))


def tokenizable(request: pb.TokenizeRequest) -> Prompt:
    """Converts the prompt that should be tokenized.

    Raises:
        InvalidPrompt: A field is not JSON.
    """
    if request.WhichOneof("prompt") == "chat":
        return _chat(request.chat)
    return TextPrompt(request.text)


def _prompt(start: pb.Start) -> Prompt:
    kind = start.WhichOneof("prompt")
    if kind == "chat":
        return _chat(start.chat)
    if kind == "text":
        return TextPrompt(start.text)
    if kind == "token_ids":
        return TokenPrompt(tuple(start.token_ids.ids))
    raise InvalidPrompt("the request has no prompt")


def _chat(chat: pb.ChatPrompt) -> ChatPrompt:
    return ChatPrompt(
        messages=_json(chat.messages_json, "messages"),
        tools=_json(chat.tools_json, "tools"),
        tool_choice=_json(chat.tool_choice_json, "tool_choice"),
        parallel_tool_calls=chat.parallel_tool_calls,
        reasoning_effort=chat.reasoning_effort or None,
        argument_schemas=_json(chat.argument_schemas_json, "tools"),
        add_generation_prompt=not chat.no_generation_prompt,
        continue_final_message=chat.continue_final_message,
        template_kwargs=_json(chat.template_kwargs_json, "chat_template_kwargs") or {},
        documents=_json(chat.documents_json, "documents"),
    )


def _json(document: bytes, param: str) -> Any:
    try:
        return json.loads(document) if document else None
    except ValueError as error:
        raise InvalidPrompt(f"{param} is not JSON: {error}", param) from None


def _sampling(s: pb.Sampling) -> Sampling:
    return Sampling(
        max_tokens=s.max_tokens if s.HasField("max_tokens") else None,
        min_tokens=s.min_tokens,
        temperature=s.temperature if s.HasField("temperature") else 1.0,
        top_p=s.top_p if s.HasField("top_p") else 1.0,
        top_k=s.top_k,
        min_p=s.min_p,
        seed=s.seed if s.HasField("seed") else None,
        n=s.n or 1,
        stop=tuple(s.stop),
        stop_token_ids=tuple(s.stop_token_ids),
        ignore_eos=s.ignore_eos,
        presence_penalty=s.presence_penalty,
        frequency_penalty=s.frequency_penalty,
        repetition_penalty=s.repetition_penalty if s.HasField("repetition_penalty") else 1.0,
        logit_bias=dict(s.logit_bias),
        top_logprobs=s.top_logprobs if s.HasField("top_logprobs") else None,
        structure=_structure(s),
        echo=s.echo,
        include_stop=s.include_stop,
        skip_special_tokens=not s.keep_special_tokens,
        bad_words=tuple(s.bad_words),
        allowed_token_ids=tuple(s.allowed_token_ids),
        return_prompt_token_ids=s.return_prompt_token_ids,
        prompt_logprobs=s.prompt_logprobs if s.HasField("prompt_logprobs") else None,
        max_tokens_may_shrink=s.max_tokens_may_shrink,
        add_special_tokens=s.add_special_tokens if s.HasField("add_special_tokens") else None,
        truncate_prompt_tokens=s.truncate_prompt_tokens,
        keep_prompt_start=s.keep_prompt_start,
        suffix=s.suffix,
    )


def _structure(s: pb.Sampling) -> Structure | None:
    kind = s.WhichOneof("structure")
    if kind is None or (kind == "json_object" and not s.json_object):
        return None
    return Structure(kind, "" if kind == "json_object" else getattr(s, kind))


def write_delta(frame: pb.Delta, name: Name, delta: Delta) -> None:
    """Writes a delta into an empty frame of the message itself: a copy would cost each token as much again."""
    frame.stream_id, frame.attempt = name
    frame.text = delta.text
    frame.token_ids.extend(delta.token_ids)
    frame.text_end = delta.text_end
    # Most deltas have none of these fields.
    if delta.choice:
        frame.choice = delta.choice
    if delta.reasoning:
        frame.reasoning = delta.reasoning
    if delta.finish_reason:
        frame.finish_reason = _FINISH[delta.finish_reason]
        if isinstance(delta.stop_reason, int):
            frame.stop_token_id = delta.stop_reason
        else:
            frame.stop_reason = delta.stop_reason
    if delta.tool_calls:
        frame.tool_calls.extend(
            pb.ToolCallDelta(index=c.index, id=c.id, name=c.name, arguments=c.arguments) for c in delta.tool_calls
        )
    if delta.logprobs:
        frame.logprobs.extend(map(logprob_frame, delta.logprobs))
    if delta.embedding:
        frame.embedding = delta.embedding


def logprob_frame(entry: TokenLogprob) -> pb.TokenLogprob:
    """Converts a log probability to its wire form."""
    top = [pb.TopLogprob(token_id=t.token_id, token=t.token, logprob=t.logprob) for t in entry.top]
    return pb.TokenLogprob(token_id=entry.token_id, token=entry.token, logprob=entry.logprob, top=top, rank=entry.rank)


def usage_frame(usage: Usage) -> pb.Usage:
    """Converts token counts to their wire form."""
    return pb.Usage(
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        completion_tokens=usage.completion_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        accepted_draft_tokens=usage.accepted_draft_tokens,
    )


def failure_of(error: EngineError) -> pb.Failure:
    """Returns the wire form of an engine's error. No other place knows this mapping."""
    if isinstance(error, ContextTooLong):
        return pb.Failure(kind=pb.FAILURE_KIND_CONTEXT_LENGTH, message=str(error), param=error.param)
    if isinstance(error, InvalidPrompt):
        return pb.Failure(kind=pb.FAILURE_KIND_INVALID, message=str(error), param=error.param)
    return pb.Failure(kind=pb.FAILURE_KIND_ENGINE, message=str(error))
