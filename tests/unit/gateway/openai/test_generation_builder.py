from typing import Any

import pytest

from services.gateway.domain.account import Caller
from services.gateway.domain.catalog import Catalog
from services.gateway.domain.generation import Generation
from services.gateway.domain.prompt import BLOCK_BYTES
from services.gateway.openai import validation
from services.gateway.openai.chat_request import ChatCompletionRequest
from services.gateway.openai.completion_request import CompletionRequest
from services.gateway.openai.generation_builder import (
    RequestOrigin,
    chat_generation,
    completion_generations,
    response_generation,
)
from services.gateway.openai.responses_request import ResponsesRequest
from services.shared.classes import ServiceClass
from services.shared.errors import ContextLengthExceeded, UnknownModel
from tidegate.router.v1 import router_pb2

CATALOG = Catalog.of_pools([router_pb2.Pool(name="m", context_tokens=100, adapters=["fr"])])


ANYBODY = Caller("key", "t", "inference")


def generation(caller: Caller = ANYBODY, salt: str = "", **changes: Any) -> Generation:
    document = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **changes}
    request = validation.check(ChatCompletionRequest, document)
    return chat_generation(request, CATALOG, RequestOrigin("ab", 5.0, caller, salt, 60.0))


def test_names_and_classes() -> None:
    made = generation(service_tier="flex", model="m:fr", n=2, max_tokens=10)
    assert (made.id, made.service_class) == ("chatcmpl-ab", ServiceClass.FLEX)
    assert (made.model.pool, made.model.adapter) == ("m", "fr")
    assert made.cost.completion_tokens == 20
    assert generation(service_tier="auto").service_class == ServiceClass.DEFAULT


def test_tenants_share_neither_models_nor_cached_prompts() -> None:
    caller = Caller("key_1", "acme", "inference", models=("m:*",))
    assert generation(caller, model="m:fr").model.id == "m:fr"
    narrow = Caller("key_1", "acme", "inference", models=("other",))
    with pytest.raises(UnknownModel):
        generation(narrow)
    long = [{"role": "user", "content": "x" * 2 * BLOCK_BYTES}]
    one, other = generation(salt="one", messages=long), generation(salt="other", messages=long)
    assert one.block_hashes
    assert set(one.block_hashes).isdisjoint(other.block_hashes)
    assert one.cache_salt == "one"


def test_what_cannot_fit_is_refused_at_once() -> None:
    with pytest.raises(ContextLengthExceeded, match="maximum context length") as refused:
        generation(max_completion_tokens=101)
    assert refused.value.param == "max_completion_tokens"
    assert generation(max_tokens=100).cost.completion_tokens == 100
    with pytest.raises(ContextLengthExceeded, match="min_tokens is too large") as refused:
        generation(min_tokens=100)
    assert refused.value.param == "min_tokens"
    with pytest.raises(UnknownModel):
        generation(model="m:other")


@pytest.mark.parametrize(
    ("length", "limit", "fits"),
    [
        *((90, 10, True), (90, 100, True), (99, 2, True), (100, 1, False)),
        *((99, None, True), (100, None, False), (100, 0, True), (101, 0, False)),
    ],
)
def test_a_prompt_of_token_ids_is_measured_before_it_waits(length: int, limit: int | None, fits: bool) -> None:
    document = {"model": "m", "prompt": [1] * length, "max_tokens": limit, "echo": True}
    request = validation.check(CompletionRequest, document)
    origin = RequestOrigin("ab", 5.0, ANYBODY, "", 60.0)
    if fits:
        (generation,) = completion_generations(request, CATALOG, origin)
        assert generation.cost.prompt_tokens == length
        return
    with pytest.raises(ContextLengthExceeded, match="maximum context length") as refused:
        completion_generations(request, CATALOG, origin)
    assert refused.value.param == "prompt"


@pytest.mark.parametrize(
    ("prompt", "fields", "answer_tokens"),
    [("a", {}, 16), ("a", {"n": 3}, 48), ("a", {"min_tokens": 40}, 40), ([1] * 95, {}, 16)],
)
def test_the_cost_of_a_completion_is_that_of_its_default_limit(
    prompt: Any, fields: dict[str, Any], answer_tokens: int
) -> None:
    request = validation.check(CompletionRequest, {"model": "m", "prompt": prompt, **fields})
    (made,) = completion_generations(request, CATALOG, RequestOrigin("ab", 5.0, ANYBODY, "", 60.0))
    assert made.cost.completion_tokens == answer_tokens


def test_a_limit_that_clients_must_name_may_be_larger_than_the_context() -> None:
    document = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 32_000}
    request, origin = validation.check(ChatCompletionRequest, document), RequestOrigin("ab", 5.0, ANYBODY, "", 60.0)
    made = chat_generation(request, CATALOG, origin, "msg_", any_limit=True)
    assert made.sampling.max_tokens_may_shrink
    assert made.cost.completion_tokens == 100
    with pytest.raises(ContextLengthExceeded):
        chat_generation(request, CATALOG, origin)


def test_an_answer_that_alone_would_not_fit_is_refused_by_the_name_that_its_api_has_for_the_limit() -> None:
    response = validation.check(ResponsesRequest, {"model": "m", "input": "hi", "max_output_tokens": 101})
    with pytest.raises(ContextLengthExceeded, match="max_output_tokens is too large") as refused:
        response_generation(response, CATALOG, RequestOrigin("ab", 5.0, ANYBODY, "", 60.0))
    assert refused.value.param == "max_output_tokens"


def test_each_prompt_is_a_generation_with_its_own_id() -> None:
    request = validation.check(CompletionRequest, {"model": "m", "prompt": ["ebb", "flow"]})
    made = completion_generations(request, CATALOG, RequestOrigin("ab", 5.0, ANYBODY, "", 60.0))
    assert [generation.id for generation in made] == ["cmpl-ab", "cmpl-ab-1"]
    assert [generation.prompt for generation in made] == ["ebb", "flow"]
