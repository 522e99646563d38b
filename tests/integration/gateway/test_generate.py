"""POST /inference/v1/generate and GET /tokenizer_info, as vLLM has them."""

from typing import Any

import orjson
import pytest

from tests.integration.gateway.conftest import ADMIN_KEY, Cluster
from tests.support.fakes import MODEL, text
from tidegate.worker.v1 import worker_pb2

PATH = "/inference/v1/generate"
ASK: dict[str, Any] = {"model": MODEL, "token_ids": [5, 6, 7], "sampling_params": {"max_tokens": 3, "seed": 7}}


def with_logprobs(delta: worker_pb2.Delta) -> None:
    entry = delta.logprobs.add(token_id=delta.token_ids[0], token=delta.text.encode(), logprob=-1.0, rank=2)
    entry.top.add(token_id=99, token=b"x", logprob=-0.5)
    entry.top.add(token_id=delta.token_ids[0], token=delta.text.encode(), logprob=-1.0)


async def test_token_ids_in_and_out(cluster: Cluster) -> None:
    answer = (await cluster.http.post(PATH, json={**ASK, "request_id": "mine", "cache_salt": "s"})).json()
    assert answer["choices"] == [
        {"index": 0, "finish_reason": "stop", "stop_reason": None, "token_ids": [0, 1, 2], "logprobs": None}
    ]
    assert (answer["output_mode"], answer["model"], answer["prompt_logprobs"]) == ("tokens", MODEL, None)
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (11, 3)
    assert answer["request_id"].startswith("generate-tokens-")
    (start,) = cluster.worker.starts
    assert (list(start.token_ids.ids), start.sampling.seed) == ([5, 6, 7], 7)


async def test_without_a_limit_there_is_what_the_context_leaves(cluster: Cluster) -> None:
    asked = {**ASK, "sampling_params": {}}
    assert (await cluster.http.post(PATH, json=asked)).status_code == 200
    assert not cluster.worker.starts[0].sampling.HasField("max_tokens")


async def test_log_probabilities_are_by_token_id(cluster: Cluster) -> None:
    cluster.worker.behaviour.delta = with_logprobs
    asked = {**ASK, "sampling_params": {"max_tokens": 1, "logprobs": 2}}
    (choice,) = (await cluster.http.post(PATH, json=asked)).json()["choices"]
    (entry,) = choice["logprobs"]["content"]
    assert (entry["token_id"], entry["logprob"], entry["rank"]) == (0, -1.0, 2)
    assert entry["top_logprobs"] == [
        {"token_id": 0, "logprob": -1.0, "rank": 2},
        {"token_id": 99, "logprob": -0.5, "rank": 1},
    ]
    (choice,) = (await cluster.http.post(PATH, json={**asked, "output_mode": "text"})).json()["choices"]
    assert choice["text"] == text(1)
    assert [top["token"] for top in choice["logprobs"]["content"][0]["top_logprobs"]] == ["x", text(1)]


async def test_a_stream_of_tokens(cluster: Cluster) -> None:
    asked = {**ASK, "stream": True, "stream_options": {"include_usage": True}, "output_mode": "text"}
    lines = (await cluster.http.post(PATH, json=asked)).text.splitlines()
    *chunks, done = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    documents = [orjson.loads(chunk) for chunk in chunks]
    assert done == "[DONE]"
    assert [token for each in documents for choice in each["choices"] for token in choice["token_ids"]] == [0, 1, 2]
    assert "".join(choice["text"] for each in documents for choice in each["choices"]) == text(3)
    assert documents[-1]["usage"]["completion_tokens"] == 3
    assert documents[-2]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"token_ids": []}, "token_ids"),
        ({"token_ids": [-1]}, "token_ids[0]"),
        ({"sampling_params": None}, "sampling_params"),
        ({"sampling_params": {"temperature": 3}}, "sampling_params.temperature"),
        ({"sampling_params": {"logprobs": -1}}, "sampling_params.logprobs"),
        ({"content_parts": [{"type": "image_url", "url": "x"}]}, "content_parts"),
        ({"kv_transfer_params": {"a": 1}}, "kv_transfer_params"),
        ({"model": "gpt-9"}, "model"),
    ],
)
async def test_refusals(cluster: Cluster, changes: dict[str, Any], param: str) -> None:
    answer = await cluster.http.post(PATH, json=ASK | changes)
    assert answer.status_code in (400, 404), answer.text
    assert answer.json()["error"]["param"] == param


async def test_the_tokenizer_is_shown_to_admin_keys_only(cluster: Cluster) -> None:
    refused = await cluster.http.get("/tokenizer_info")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "permission_denied")
    admin = {"authorization": f"Bearer {ADMIN_KEY}"}
    for path in ("/tokenizer_info", f"/v1/tokenizer_info?model={MODEL}"):
        assert (await cluster.http.get(path, headers=admin)).json() == {"tokenizer_class": "Bytes"}
    missing = await cluster.http.get("/tokenizer_info?model=gpt-9", headers=admin)
    assert missing.status_code == 404


async def test_a_caller_of_one_model_need_not_name_it(cluster: Cluster) -> None:
    counted = await cluster.http.post("/tokenize", json={"prompt": "hi", "add_special_tokens": False})
    assert counted.json()["tokens"] == [104, 105]
    assert (await cluster.http.post("/detokenize", json={"tokens": [104, 105]})).json() == {"prompt": "hi"}
    unnamed = {"token_ids": [1], "sampling_params": {"max_tokens": 1}}
    assert (await cluster.http.post(PATH, json=unnamed)).json()["model"] == MODEL


async def test_the_limit_of_a_message_is_a_bound(cluster: Cluster) -> None:
    ask = {"model": MODEL, "max_tokens": 32_000, "messages": [{"role": "user", "content": "hi"}]}
    assert (await cluster.http.post("/v1/messages", json=ask)).status_code == 200
    assert cluster.worker.starts[0].sampling.max_tokens_may_shrink
    refused = await cluster.http.post("/v1/chat/completions", json=ask)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "max_tokens")
