"""Each API of ours that generates takes the same fields for sampling, and hands them to the engine unchanged."""

from typing import Any

import pytest

from services.gateway.anthropic.messages_request import MessagesRequest
from services.gateway.openai import validation
from services.gateway.openai.chat_request import ChatCompletionRequest
from services.gateway.openai.completion_request import CompletionRequest
from services.gateway.openai.responses_request import ResponsesRequest
from services.gateway.openai.sampling import SamplingFields, SamplingRequest
from services.gateway.openai.token_request import GenerateRequest
from tidegate.worker.v1 import worker_pb2

USER = {"role": "user", "content": "hi"}
VALUES: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.5,
    "seed": 7,
    "stop": ["ebb"],
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "logit_bias": {"5": 1.0},
    "top_k": 5,
    "min_p": 0.5,
    "repetition_penalty": 1.5,
    "min_tokens": 2,
    "ignore_eos": True,
    "stop_token_ids": [5],
    "structured_outputs": {"regex": "a+"},
    "include_stop_str_in_output": True,
    "skip_special_tokens": False,
    "bad_words": ["flow"],
    "allowed_token_ids": [5, 6],
}
"""A value for each field that is not its default."""

ELSEWHERE: dict[str, dict[str, str]] = {
    "responses": {
        "max_tokens": "max_output_tokens",
        "n": "there is one answer",
        "return_token_ids": "a Response has no place for them",
        "prompt_logprobs": "a Response has no place for them",
        "truncate_prompt_tokens": "truncation",
        "truncation_side": "truncation",
        "add_special_tokens": "the template adds them",
    },
    "messages": {
        "user": "metadata.user_id",
        "safety_identifier": "metadata.user_id",
        "prompt_cache_key": "cache_control",
        "stream_options": "a message always has its usage",
        "n": "there is one answer",
        "return_token_ids": "a message has no place for them",
        "prompt_logprobs": "a message has no place for them",
        "truncate_prompt_tokens": "the conversation is the client's",
        "truncation_side": "the conversation is the client's",
        "add_special_tokens": "the template adds them",
    },
}
"""Fields that chat completions and completions share and that another API has under another name, or not at all."""


def chat(**fields: Any) -> worker_pb2.Sampling:
    return validation.check(ChatCompletionRequest, {"model": "m", "messages": [USER], **fields}).sampling()


def completion(**fields: Any) -> worker_pb2.Sampling:
    sampling = validation.check(CompletionRequest, {"model": "m", "prompt": "hi", **fields}).sampling()
    # Completions have a default of their own.
    sampling.ClearField("max_tokens")
    sampling.ClearField("max_tokens_may_shrink")
    return sampling


def response(**fields: Any) -> worker_pb2.Sampling:
    return validation.check(ResponsesRequest, {"model": "m", "input": "hi", **fields}).chat.sampling()


def message(**fields: Any) -> worker_pb2.Sampling:
    document = {"model": "m", "max_tokens": 9, "messages": [USER], **fields}
    sampling = validation.check(MessagesRequest, document).chat.sampling()
    # A message must name it.
    sampling.ClearField("max_tokens")
    sampling.ClearField("max_tokens_may_shrink")
    return sampling


def tokens(**fields: Any) -> worker_pb2.Sampling:
    document = {"model": "m", "token_ids": [1], "sampling_params": fields}
    return validation.check(GenerateRequest, document).completion("m").sampling()


def test_the_values_name_every_field() -> None:
    assert VALUES.keys() == SamplingFields.model_fields.keys()


@pytest.mark.parametrize("name", VALUES)
def test_every_api_takes_it(name: str) -> None:
    asked = {name: VALUES[name]}
    assert chat(**asked) != chat()
    assert completion(**asked) == response(**asked) == message(**asked) == tokens(**asked) == chat(**asked)


@pytest.mark.parametrize(("api", "kind"), [("responses", ResponsesRequest), ("messages", MessagesRequest)])
def test_no_other_shared_field_is_forgotten(api: str, kind: type[Any]) -> None:
    missing = SamplingRequest.model_fields.keys() - kind.model_fields.keys()
    assert missing == ELSEWHERE[api].keys()
