from typing import Any

import pytest

from services.gateway.domain.account import Caller, Limits
from services.gateway.domain.catalog import Catalog
from services.gateway.domain.cost import DEFAULT_ANSWER_TOKENS, Cost, estimate
from services.gateway.domain.generation import Generation, Mint, of_chat
from services.gateway.domain.prompt_blocks import BLOCK_BYTES, MAX_BLOCKS, block_hashes
from services.gateway.openai import validation
from services.gateway.openai.chat import ChatCompletionRequest
from services.shared.classes import ServiceClass
from services.shared.errors import ContextLengthExceeded, UnknownModel
from tidegate.router.v1 import router_pb2

CATALOG = Catalog.of_pools([router_pb2.Pool(name="m", context_tokens=100, adapters=["fr"])])


ANYBODY = Caller("key", "t", "inference")


def generation(caller: Caller = ANYBODY, salt: str = "", **changes: Any) -> Generation:
    document = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **changes}
    request = validation.check(ChatCompletionRequest, document)
    return of_chat(request, CATALOG, Mint("ab", 5.0, caller, salt, 60.0))


def test_names_classes_and_adapters() -> None:
    asked = generation(service_tier="flex", model="m:fr", n=2, max_tokens=10)
    assert (asked.id, asked.service_class) == ("chatcmpl-ab", ServiceClass.FLEX)
    submit = asked.submit(2, timeout_s=1.5)
    assert (submit.pool, submit.adapter, submit.attempt, submit.timeout_ms) == ("m", "fr", 2, 1500)
    assert submit.cost.completion_tokens == 20
    assert generation(service_tier="auto").service_class == ServiceClass.DEFAULT


def test_the_router_is_told_whose_it_is_and_what_its_key_may() -> None:
    caller = Caller("key_1", "acme", "inference", weight=2.5, limits=Limits(requests_per_minute=60))
    submit = generation(caller).submit(1, timeout_s=1)
    assert (submit.tenant, submit.weight) == ("acme", 2.5)
    assert [(limit.name, limit.requests_per_minute, limit.tokens_per_minute) for limit in submit.limits] == [
        ("key:key_1", 60, 0)
    ]
    assert not generation().submit(1, timeout_s=1).limits


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
    assert one.start(1, router_pb2.Grant(), timeout_s=1, credit=1).cache_salt == "one"


def test_what_cannot_fit_is_refused_at_once() -> None:
    with pytest.raises(ContextLengthExceeded) as refused:
        generation(max_completion_tokens=100)
    assert refused.value.param == "max_completion_tokens"
    assert generation(max_tokens=99).cost.completion_tokens == 99
    with pytest.raises(UnknownModel):
        generation(model="m:other")


def test_cost() -> None:
    assert estimate(9, None, 2, 8192) == Cost(3, 2 * DEFAULT_ANSWER_TOKENS)
    assert estimate(0, 7, 1, 8192) == Cost(1, 7)
    assert estimate(10**9, 10**9, 1, 100) == Cost(100, 100)


def test_block_hashes_chain() -> None:
    blocks = [bytes([n]) * BLOCK_BYTES for n in range(3)]
    whole = block_hashes(b"".join(blocks), scope="m")
    assert block_hashes(b"".join(blocks[:2]) + b"tail", scope="m") == whole[:2]
    other = block_hashes(b"x" * BLOCK_BYTES + blocks[1], scope="m")
    assert other[1] != whole[1]
    assert block_hashes(blocks[0], scope="n") != whole[:1]
    assert block_hashes(b"short", scope="m") == []
    assert len(block_hashes(b"x" * BLOCK_BYTES * (MAX_BLOCKS + 9), scope="m")) == MAX_BLOCKS
    assert all(0 <= value < 2**64 for value in whole)
