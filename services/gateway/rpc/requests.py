"""Public gRPC messages as the documents that OpenAI's REST API would carry, for the one validator."""

from typing import Any

from tidegate.inference.v1 import inference_pb2


def chat(request: inference_pb2.ChatRequest) -> dict[str, Any]:
    messages = [_message(message) for message in request.messages]
    return {"messages": messages, **_common(request)}


def completion(request: inference_pb2.CompleteRequest) -> dict[str, Any]:
    return {"prompt": request.prompt, "echo": request.echo, **_common(request)}


def _message(message: inference_pb2.Message) -> dict[str, Any]:
    """proto3 cannot say "absent" of a plain string: an empty one is left out where OpenAI's field is optional."""
    optional = {"name": message.name, "tool_call_id": message.tool_call_id}
    given = {name: value for name, value in optional.items() if value}
    return {"role": message.role, "content": message.content, **given}


def _common(request: inference_pb2.ChatRequest | inference_pb2.CompleteRequest) -> dict[str, Any]:
    document: dict[str, Any] = {"model": request.model, "stream": True}
    if request.service_tier:
        document["service_tier"] = request.service_tier
    if request.user:
        document["user"] = request.user
    return {**document, **_sampling(request.sampling)}


def _sampling(sampling: inference_pb2.Sampling) -> dict[str, Any]:
    document = {field.name: value for field, value in sampling.ListFields()}
    if sampling.stop:
        document["stop"] = list(sampling.stop)
    return document
