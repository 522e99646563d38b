"""Public gRPC messages as the JSON bodies of the REST API, so that one validator serves both."""

from copy import deepcopy
from hashlib import sha256
from typing import Any

from services.gateway.openai import strict_json
from services.shared.errors import InvalidRequest, NotJson
from tidegate.inference.v1 import inference_pb2

Generating = inference_pb2.ChatRequest | inference_pb2.CompleteRequest


def chat(request: inference_pb2.ChatRequest) -> dict[str, Any]:
    """Returns the body of a chat completion. Raises InvalidRequest."""
    document = {"messages": _messages(request.messages), **_common(request)}
    if request.HasField("top_logprobs"):
        document |= {"logprobs": True, "top_logprobs": request.top_logprobs}
    if request.tools:
        document["tools"] = _tools(request.tools)
    if request.HasField("tool_choice"):
        document["tool_choice"] = _tool_choice(request.tool_choice)
    if request.HasField("parallel_tool_calls"):
        document["parallel_tool_calls"] = request.parallel_tool_calls
    if request.reasoning_effort:
        document["reasoning_effort"] = request.reasoning_effort
    return document


def completion(request: inference_pb2.CompleteRequest) -> dict[str, Any]:
    """Returns the body of a completion. Raises InvalidRequest."""
    if request.prompt and request.token_ids:
        raise InvalidRequest("Either a prompt or token_ids are needed, not both.", param="token_ids")
    if request.echo and request.HasField("top_logprobs"):
        raise InvalidRequest("Log probabilities of an echoed prompt are shown over REST only.", param="echo")
    prompt = list(request.token_ids) or request.prompt
    document = {"prompt": prompt, "echo": request.echo, **_common(request)}
    if request.HasField("top_logprobs"):
        document["logprobs"] = request.top_logprobs
    return document


def digest(request: Generating) -> bytes:
    """Returns a digest of a request that is the same when the client sends it again to continue after an event."""
    whole = deepcopy(request)
    whole.ClearField("last_event_id")
    return sha256(whole.DESCRIPTOR.name.encode() + whole.SerializeToString(deterministic=True)).digest()


def tokenizing(request: inference_pb2.TokenizeRequest) -> dict[str, Any]:
    """Returns the body of a request to tokenize. Raises InvalidRequest."""
    document: dict[str, Any] = {"model": request.model}
    if request.prompt:
        document["prompt"] = request.prompt
    if request.messages:
        document["messages"] = _messages(request.messages)
    if request.tools:
        document["tools"] = _tools(request.tools)
    return document


def detokenizing(request: inference_pb2.DetokenizeRequest) -> dict[str, Any]:
    """Returns the body of a request to detokenize."""
    return {"model": request.model, "tokens": list(request.token_ids)}


def embedding(request: inference_pb2.EmbedRequest) -> dict[str, Any]:
    """Returns the body of a request for embeddings."""
    document: dict[str, Any] = {"model": request.model, "input": list(request.inputs)}
    if request.dimensions:
        document["dimensions"] = request.dimensions
    if request.service_tier:
        document["service_tier"] = request.service_tier
    return document


def _messages(messages: Any) -> list[dict[str, Any]]:
    return [_message(message) for message in messages]


def _message(message: inference_pb2.Message) -> dict[str, Any]:
    """proto3 cannot tell an absent string from an empty one, so empty ones are left out where the field is optional."""
    optional: dict[str, Any] = {
        "name": message.name,
        "tool_call_id": message.tool_call_id,
        "reasoning_content": message.reasoning,
        "tool_calls": [_tool_call(call) for call in message.tool_calls],
    }
    given = {name: value for name, value in optional.items() if value}
    if message.HasField("content"):
        given["content"] = message.content
    return {"role": message.role, **given}


def _tool_call(call: inference_pb2.ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _tools(tools: Any) -> list[dict[str, Any]]:
    return [{"type": "function", "function": _function(tool, index)} for index, tool in enumerate(tools)]


def _function(tool: inference_pb2.Tool, index: int) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters:
        function["parameters"] = _json(tool.parameters, f"tools[{index}].parameters")
    return function


def _tool_choice(choice: inference_pb2.ToolChoice) -> Any:
    named = [{"type": "function", "function": {"name": name}} for name in choice.functions]
    if choice.mode and named:
        return {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode, "tools": named}}
    if len(named) > 1:
        raise InvalidRequest("Several functions need a mode, auto or required.", param="tool_choice")
    return named[0] if named else choice.mode


def _common(request: Generating) -> dict[str, Any]:
    document: dict[str, Any] = {"model": request.model, "stream": True}
    if request.service_tier:
        document["service_tier"] = request.service_tier
    if request.user:
        document["user"] = request.user
    if request.metadata:
        document["metadata"] = dict(request.metadata)
    if request.structure.WhichOneof("form"):
        document["structured_outputs"] = _structure(request.structure)
    return {**document, **_sampling(request.sampling)}


def _structure(structure: inference_pb2.Structure) -> dict[str, Any]:
    match structure.WhichOneof("form"):
        case "json_schema":
            return {"json": _json(structure.json_schema, "structure.json_schema")}
        case "json_object":
            return {"json_object": structure.json_object}
        case "choices":
            return {"choice": list(structure.choices.texts)}
        case form:
            return {str(form): getattr(structure, str(form))}


def _sampling(sampling: inference_pb2.Sampling) -> dict[str, Any]:
    """Names are those of the REST API. What is not set is absent."""
    document = {field.name: value for field, value in sampling.ListFields()}
    for name in ("stop", "stop_token_ids", "bad_words", "allowed_token_ids"):
        if name in document:
            document[name] = list(document[name])
    if sampling.logit_bias:
        document["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias.items()}
    return document


def _json(text: str, param: str) -> dict[str, Any]:
    try:
        return strict_json.parse_object(text.encode(), "it")
    except NotJson as error:
        raise InvalidRequest(
            f"Invalid value for '{param}': {error.message}", param=param, code="invalid_value"
        ) from None
