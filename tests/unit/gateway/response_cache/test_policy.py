from typing import Any

import pytest

from services.gateway.domain.account import Caller
from services.gateway.domain.catalog import Catalog
from services.gateway.domain.generation import Generation
from services.gateway.openai import validation
from services.gateway.openai.chat_request import ChatCompletionRequest
from services.gateway.openai.completion_request import CompletionRequest
from services.gateway.openai.generation_builder import RequestOrigin, chat_generation, completion_generations
from services.gateway.response_cache.policy import CacheDirective, cache_key, deterministic, served_version
from services.shared.errors import InvalidRequest
from tidegate.router.v1 import router_pb2


def catalog(*versions: str) -> Catalog:
    pools = (router_pb2.Pool(name=name, context_tokens=100, model_versions=versions) for name in ("m", "other"))
    return Catalog.of_pools(pools)


def chat(tenant: str = "t", request_id: str = "ab", salt: str = "", **changes: Any) -> Generation:
    document = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 0, **changes}
    request = validation.check(ChatCompletionRequest, document)
    return chat_generation(
        request, catalog("v1"), RequestOrigin(request_id, 5.0, Caller("key", tenant, "inference"), salt, 60.0)
    )


def completion(prompt: Any) -> Generation:
    request = validation.check(CompletionRequest, {"model": "m", "prompt": prompt})
    (only,) = completion_generations(
        request, catalog("v1"), RequestOrigin("ab", 5.0, Caller("key", "t", "inference"), "", 60.0)
    )
    return only


CHANGES: tuple[dict[str, Any], ...] = (
    {"seed": 1},
    {"n": 2},
    {"max_tokens": 5},
    {"stop": ["x"]},
    {"logprobs": True},
    {"logit_bias": {"1": 1}},
    {"response_format": {"type": "json_object"}},
    {"reasoning_effort": "low"},
)


def test_what_does_not_change_the_answer_is_not_in_the_key() -> None:
    first = cache_key(chat(), "v1")
    again = chat(request_id="cd", stream=True, user="me", metadata={"a": "b"}, service_tier="flex", n=1)
    assert cache_key(again, "v1") == first


def test_everything_that_changes_the_answer_is_in_the_key() -> None:
    made = [
        cache_key(chat(), "v1"),
        cache_key(chat(), "v2"),
        cache_key(chat(tenant="other"), "v1"),
        cache_key(chat(model="other"), "v1"),
        cache_key(chat(messages=[{"role": "user", "content": "ho"}]), "v1"),
        cache_key(chat(tools=[{"type": "function", "function": {"name": "f"}}]), "v1"),
        *(cache_key(chat(**changes), "v1") for changes in CHANGES),
        cache_key(completion("12"), "v1"),
        cache_key(completion([12]), "v1"),
    ]
    assert len(set(made)) == len(made)


def test_only_greedy_or_seeded_requests_are_deterministic() -> None:
    assert deterministic(chat().sampling)
    assert deterministic(chat(temperature=1.5, seed=0).sampling)
    assert not deterministic(chat(temperature=0.1).sampling)
    # Absent is the model's own temperature.
    assert not deterministic(chat(temperature=None).sampling)


def test_nothing_is_cacheable_while_workers_serve_several_versions() -> None:
    assert served_version(chat(), catalog("v1")) == "v1"
    assert served_version(chat(), catalog("v1", "v2")) is None
    assert served_version(chat(), catalog()) is None


def test_the_header_has_one_valid_value() -> None:
    assert CacheDirective.of(None) is None
    assert CacheDirective.of("use") == CacheDirective("bypass")
    with pytest.raises(InvalidRequest, match="can only say 'use'"):
        CacheDirective.of("no-store")
