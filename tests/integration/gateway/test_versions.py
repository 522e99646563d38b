"""Answers of more than one version: a worker changed its weights under them. They say which tokens came from which."""

import json
from typing import Any

import pytest

from tests.integration.gateway.conftest import Cluster
from tests.support.fakes import MODEL, VERSION, Behaviour, text
from tidegate.inference.v1 import inference_pb2, inference_pb2_grpc
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2

NEW = Behaviour.next_version
TOKENS, CROSSED_AT = 6, 2
ASK = [{"role": "user", "content": "Count."}]
CHAT: dict[str, Any] = {"model": MODEL, "messages": ASK}
SPANS = [
    {"version": VERSION, "first_token": 0, "completion_tokens": CROSSED_AT},
    {"version": NEW, "first_token": CROSSED_AT, "completion_tokens": TOKENS - CROSSED_AT},
]
PATHS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"model": MODEL, "prompt": "Count.", "max_tokens": TOKENS},
    "/v1/responses": {"model": MODEL, "input": "Count.", "store": False},
    "/v1/messages": {**CHAT, "max_tokens": TOKENS},
}


@pytest.fixture
def crossing(cluster: Cluster) -> Cluster:
    """A cluster whose worker changes its weights after two tokens."""
    cluster.worker.behaviour = Behaviour(tokens=TOKENS, resumable=True, moves_after=CROSSED_AT)
    return cluster


def fingerprint(version: str) -> str:
    return f"fp_{version[:12]}"


async def events_of(cluster: Cluster, path: str, body: dict[str, Any], **headers: str) -> list[dict[str, Any]]:
    answer = await cluster.http.post(path, json={**body, "stream": True}, headers=headers)
    assert (answer.status_code, answer.headers["x-tidegate-model-version"]) == (200, VERSION)
    lines = (line for line in answer.text.splitlines() if line.startswith("data: {"))
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def choices_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    """What has the field: a choice, or the whole document where there is one choice only."""
    found: list[dict[str, Any]] = document.get("choices", [document])
    return found


@pytest.mark.parametrize("path", PATHS)
async def test_a_whole_answer_lists_its_versions_and_the_header_names_the_last(crossing: Cluster, path: str) -> None:
    answer = await crossing.http.post(path, json=PATHS[path])
    assert (answer.status_code, answer.headers["x-tidegate-model-version"]) == (200, NEW)
    document = answer.json()
    assert [choice["version_spans"] for choice in choices_of(document)] == [SPANS]
    assert text(TOKENS) in answer.text
    if "system_fingerprint" in document:
        assert document["system_fingerprint"] == fingerprint(NEW)
    crossing.worker.behaviour.moves_after = None
    plain = (await crossing.http.post(path, json=PATHS[path])).json()
    assert all("version_spans" not in choice for choice in choices_of(plain))


async def test_each_choice_has_its_own_spans(crossing: Cluster) -> None:
    document = (await crossing.http.post("/v1/chat/completions", json={**CHAT, "n": 2})).json()
    assert [choice["version_spans"] for choice in document["choices"]] == [SPANS, SPANS]
    assert [choice["message"]["content"] for choice in document["choices"]] == [text(TOKENS, n) for n in range(2)]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_events_have_the_fingerprint_of_the_version_that_made_them(crossing: Cluster, path: str) -> None:
    said = {fingerprint(VERSION): "", fingerprint(NEW): ""}
    for event in await events_of(crossing, path, PATHS[path]):
        for choice in event["choices"]:
            said[event["system_fingerprint"]] += choice.get("text") or choice.get("delta", {}).get("content") or ""
    assert list(said.values()) == [text(CROSSED_AT), text(TOKENS).removeprefix(text(CROSSED_AT))]


@pytest.mark.parametrize(("path", "kind"), [("/v1/responses", "response.completed"), ("/v1/messages", "message_delta")])
async def test_streams_without_fingerprints_name_their_versions_at_their_end(
    crossing: Cluster, path: str, kind: str
) -> None:
    last = next(event for event in await events_of(crossing, path, PATHS[path]) if event["type"] == kind)
    assert last.get("response", last)["version_spans"] == SPANS


async def test_the_router_may_choose_the_same_worker_and_any_version(crossing: Cluster) -> None:
    await crossing.http.post("/v1/chat/completions", json=CHAT)
    second = crossing.router.submits[1]
    assert (second.at_head, list(second.excluded_workers), second.model_version) == (True, [], "")
    await crossing.idle()
    outcomes = [finish.outcome for finish in crossing.router.finishes]
    assert outcomes == [router_pb2.OUTCOME_RETRYING, router_pb2.OUTCOME_COMPLETED]


async def test_an_answer_that_is_handed_over_prefers_its_version(crossing: Cluster) -> None:
    crossing.worker.behaviour.moves_as = worker_pb2.FAILURE_KIND_HAND_OVER
    await crossing.http.post("/v1/chat/completions", json=CHAT)
    second = crossing.router.submits[1]
    assert (second.model_version, second.model_version_optional, list(second.excluded_workers)) == (VERSION, True, [])


async def test_an_answer_that_cannot_go_on_is_an_error(crossing: Cluster) -> None:
    crossing.worker.behaviour.resumable = False
    answer = await crossing.http.post("/v1/chat/completions", json=CHAT)
    assert (answer.status_code, answer.headers["retry-after"]) == (502, "1")


async def test_an_answer_is_told_again_as_it_was_told(crossing: Cluster) -> None:
    keyed = {"idempotency-key": "crossing"}
    first = await events_of(crossing, "/v1/chat/completions", CHAT, **keyed)
    assert await events_of(crossing, "/v1/chat/completions", CHAT, **keyed) == first
    assert len(crossing.router.submits) == 2


async def test_a_grpc_stream_names_the_versions_where_they_change_and_at_its_end(crossing: Cluster) -> None:
    stub = inference_pb2_grpc.InferenceServiceStub(crossing.channel)
    request = inference_pb2.ChatRequest(model=MODEL, messages=[inference_pb2.Message(role="user", content="Count.")])
    key = [("authorization", crossing.http.headers["authorization"])]
    messages = [message async for message in stub.Chat(request, metadata=key)]
    changed = [n for n, message in enumerate(messages) if message.model_version]
    assert [messages[n].model_version for n in changed] == [NEW]
    before = "".join(choice.content for message in messages[: changed[0]] for choice in message.choices)
    assert before == text(CROSSED_AT)
    spans = [(s.choice, s.model_version, s.first_token, s.tokens) for s in messages[-1].version_spans]
    assert spans == [(0, VERSION, 0, CROSSED_AT), (0, NEW, CROSSED_AT, TOKENS - CROSSED_AT)]
