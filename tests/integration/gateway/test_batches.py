"""Files and batches over REST, on a real object store, with the real openai client."""

import asyncio
import codecs
import json
from collections.abc import AsyncIterator
from random import Random
from typing import Any, Final

import httpx
import openai
import pytest
import pytest_asyncio

from services.gateway.app import GatewayApp
from services.gateway.batches import run, runner
from services.shared.objectstore import StoreSettings
from tests.integration.gateway.conftest import ADMIN_KEY, KEY, Cluster, Started, settings
from tests.support.fakes import MODEL, text
from tests.support.s3 import running_s3
from tests.support.wait import wait_until
from tidegate.router.v1 import router_pb2

CHAT: Final = "/v1/chat/completions"
ASK = {"model": MODEL, "messages": [{"role": "user", "content": "Count."}]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def s3(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StoreSettings]:
    async with running_s3(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "POLL_S", 0.1)
    monkeypatch.setattr(run, "BEAT_S", 0.2)


@pytest.fixture
async def gateway(cluster: Cluster, start: Started, s3: StoreSettings) -> GatewayApp:
    started: GatewayApp = await start(GatewayApp(settings(cluster.router.address, **s3.model_dump()), random=Random()))
    await wait_until(lambda: started.ready() is None, description="the gateway is ready")
    return started


@pytest.fixture
async def client(gateway: GatewayApp) -> AsyncIterator[Any]:
    base = f"http://{gateway.http_address}/v1"
    async with openai.AsyncOpenAI(base_url=base, api_key=KEY, max_retries=0, timeout=20) as client:
        yield client


def jsonl(*bodies: dict[str, Any], url: str = CHAT) -> bytes:
    lines = ({"custom_id": f"r{n}", "method": "POST", "url": url, "body": body} for n, body in enumerate(bodies))
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


async def _made(admin: httpx.AsyncClient, name: str) -> bool:
    return (await admin.post("/admin/keys", json={"name": name})).status_code == 201


async def ended(client: Any, batch_id: str) -> Any:
    async def over() -> bool:
        return (await client.batches.retrieve(batch_id)).status in ("completed", "failed", "cancelled")

    await wait_until(over, description="the batch has ended", timeout=60)
    return await client.batches.retrieve(batch_id)


async def lines_of(client: Any, file_id: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (await client.files.content(file_id)).text.splitlines()]


async def test_a_batch_from_upload_to_results(cluster: Cluster, client: Any) -> None:
    file = await client.files.create(file=("in.jsonl", jsonl(ASK, {**ASK, "max_tokens": 0}, ASK)), purpose="batch")
    assert (await client.files.retrieve(file.id)).filename == "in.jsonl"
    batch = await client.batches.create(
        input_file_id=file.id, endpoint=CHAT, completion_window="24h", metadata={"a": "b"}
    )
    assert batch.status == "validating"
    done = await ended(client, batch.id)
    assert (done.status, done.request_counts.completed, done.request_counts.failed) == ("completed", 2, 1)
    output = await client.files.content(done.output_file_id)
    answers = [json.loads(line) for line in output.text.splitlines()]
    assert sorted(answer["custom_id"] for answer in answers) == ["r0", "r2"]
    assert {answer["response"]["body"]["choices"][0]["message"]["content"] for answer in answers} == {text(5)}
    [error] = [json.loads(line) for line in (await client.files.content(done.error_file_id)).text.splitlines()]
    assert error["response"]["body"]["error"]["param"] == "max_tokens"
    assert {submit.service_class for submit in cluster.router.submits} == {router_pb2.SERVICE_CLASS_BATCH}
    assert batch.id in [listed.id async for listed in client.batches.list()]
    listed = [kept.id async for kept in client.files.list()]
    assert {file.id, done.output_file_id, done.error_file_id} <= set(listed)
    assert (await client.files.delete(file.id)).deleted
    with pytest.raises(openai.NotFoundError):
        await client.files.retrieve(file.id)


async def test_a_gateway_that_stops_releases_its_batch(cluster: Cluster, start: Started, s3: StoreSettings) -> None:
    cluster.router.holding = True
    first = GatewayApp(settings(cluster.router.address, **s3.model_dump()), random=Random())
    await first.start()
    await wait_until(lambda: first.ready() is None, description="the gateway is ready")
    async with openai.AsyncOpenAI(base_url=f"http://{first.http_address}/v1", api_key=KEY) as client:
        file = await client.files.create(file=("in.jsonl", jsonl(*[ASK] * 4)), purpose="batch")
        batch = await client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
        await wait_until(lambda: len(cluster.router.submits) == 4, description="all are queued")
        cluster.router.grant(cluster.router.submits[0])
        await wait_until(lambda: cluster.router.finishes, description="one is answered")
    await first.stop()
    cluster.router.holding = False
    other: GatewayApp = await start(GatewayApp(settings(cluster.router.address, **s3.model_dump()), random=Random()))
    async with openai.AsyncOpenAI(base_url=f"http://{other.http_address}/v1", api_key=KEY) as there:
        done = await ended(there, batch.id)
        lines = (await there.files.content(done.output_file_id)).text.splitlines()
    assert sorted(json.loads(line)["custom_id"] for line in lines) == ["r0", "r1", "r2", "r3"]
    assert len(cluster.router.submits) == 7


async def test_every_line_has_the_current_limits_and_budget_of_the_key(
    cluster: Cluster, start: Started, s3: StoreSettings
) -> None:
    told = settings(cluster.router.address, **s3.model_dump(), batch_concurrency=1)
    gateway: GatewayApp = await start(GatewayApp(told, random=Random()))
    base = f"http://{gateway.http_address}/v1"
    async with httpx.AsyncClient(base_url=base, headers={"authorization": f"Bearer {ADMIN_KEY}"}) as admin:
        await wait_until(lambda: _made(admin, "first"), description="the database is there")
        wanted = {"name": "b", "requests_per_minute": 60, "budget_tokens": 20, "budget_period": "day"}
        made = (await admin.post("/admin/keys", json=wanted)).json()
        async with openai.AsyncOpenAI(base_url=base, api_key=made["key"]) as client:
            over = await client.files.create(file=("in.jsonl", jsonl(*[ASK] * 4)), purpose="batch")
            batch = await client.batches.create(input_file_id=over.id, endpoint=CHAT, completion_window="24h")
            spent = await ended(client, batch.id)
            errors = [json.loads(line) for line in (await client.files.content(spent.error_file_id)).text.splitlines()]
    # An answer of the fakes costs 16 tokens, and who begins within a budget is served whole.
    assert (spent.request_counts.completed, spent.request_counts.failed) == (2, 2)
    assert {error["response"]["body"]["error"]["code"] for error in errors} == {"insufficient_quota"}
    assert {submit.limits[0].name for submit in cluster.router.submits} == {f"key:{made['id']}"}
    assert {submit.limits[0].requests_per_minute for submit in cluster.router.submits} == {60}


async def test_a_batch_of_a_revoked_key_stops(cluster: Cluster, start: Started, s3: StoreSettings) -> None:
    cluster.router.holding = True
    told = settings(cluster.router.address, **s3.model_dump(), batch_concurrency=1)
    gateway: GatewayApp = await start(GatewayApp(told, random=Random()))
    base = f"http://{gateway.http_address}/v1"
    async with httpx.AsyncClient(base_url=base, headers={"authorization": f"Bearer {ADMIN_KEY}"}) as admin:
        await wait_until(lambda: _made(admin, "first"), description="the database is there")
        made, other = [(await admin.post("/admin/keys", json={"name": "b"})).json() for _ in range(2)]
        async with openai.AsyncOpenAI(base_url=base, api_key=made["key"]) as client:
            file = await client.files.create(file=("in.jsonl", jsonl(*[ASK] * 3)), purpose="batch")
            batch = await client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
        await wait_until(lambda: cluster.router.submits, description="the first line is queued")
        assert (await admin.post(f"/admin/keys/{made['id']}/revoke")).status_code == 200
        cluster.router.holding = False
        cluster.router.grant(cluster.router.submits[0])
        async with openai.AsyncOpenAI(base_url=base, api_key=other["key"]) as client:
            done = await ended(client, batch.id)
    assert (done.request_counts.completed, done.request_counts.failed) == (1, 2)
    assert len(cluster.router.submits) == 1


async def test_a_batch_can_be_cancelled_and_keeps_what_was_done(cluster: Cluster, client: Any) -> None:
    cluster.router.holding = True
    file = await client.files.create(file=("in.jsonl", jsonl(*[ASK] * 3)), purpose="batch")
    batch = await client.batches.create(
        input_file_id=file.id,
        endpoint=CHAT,
        completion_window="24h",
        output_expires_after={"anchor": "created_at", "seconds": 7200},
    )
    await wait_until(lambda: len(cluster.router.submits) == 3, description="all are queued")
    cluster.router.grant(cluster.router.submits[0])

    async def counted() -> bool:
        counts = (await client.batches.retrieve(batch.id)).request_counts
        return (counts.total, counts.completed, counts.failed) == (3, 1, 0)

    await wait_until(counted, description="the count of a batch that runs moves", timeout=30)
    told = await client.batches.cancel(batch.id)
    assert (told.status, told.cancelled_at) == ("cancelling", None)
    done = await ended(client, batch.id)
    assert (done.status, done.request_counts.completed) == ("cancelled", 1)
    assert done.cancelling_at <= done.cancelled_at
    [answer] = await lines_of(client, done.output_file_id)
    assert answer["response"]["body"]["choices"][0]["message"]["content"] == text(5)
    rest = await lines_of(client, done.error_file_id)
    assert {line["error"]["code"] for line in rest} == {"batch_cancelled"}
    assert {line["custom_id"] for line in rest} == {"r0", "r1", "r2"} - {answer["custom_id"]}
    kept = await client.files.retrieve(done.output_file_id)
    assert (kept.purpose, kept.expires_at) == ("batch_output", kept.created_at + 7200)
    assert (await client.batches.cancel(batch.id)).status == "cancelled"


async def test_a_batch_that_nobody_has_begun_is_cancelled_at_once(
    client: Any, gateway: GatewayApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "MAX_RUNNING", 0)
    file = await client.files.create(file=("in.jsonl", jsonl(ASK)), purpose="batch")
    batch = await client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    assert (await client.batches.cancel(batch.id)).status == "cancelling"
    assert (await client.batches.retrieve(batch.id)).status == "cancelled"
    stores = gateway._batches
    assert stores
    assert batch.id not in [name async for _, name in stores.batches.open_batches()]


RESPONSE = {"model": MODEL, "input": "Count."}
COMPLETION = {"model": MODEL, "prompt": "Count."}
EMBEDDING = {"model": MODEL, "input": "Count."}


async def test_every_endpoint_answers_its_lines(client: Any) -> None:
    """Files begin with a byte order mark, as some editors write it."""
    done = {}
    for endpoint, body in (("completions", COMPLETION), ("responses", RESPONSE), ("embeddings", EMBEDDING)):
        content = codecs.BOM_UTF8 + jsonl(body, url=f"/v1/{endpoint}")
        file = await client.files.create(file=("in.jsonl", content), purpose="batch")
        batch = await client.batches.create(
            input_file_id=file.id, endpoint=f"/v1/{endpoint}", completion_window="24h"
        )  # fmt: skip
        done[endpoint] = await ended(client, batch.id)
    assert {batch.status for batch in done.values()} == {"completed"}
    [completion] = await lines_of(client, done["completions"].output_file_id)
    assert completion["response"]["body"]["choices"][0]["text"] == text(5)
    [response] = await lines_of(client, done["responses"].output_file_id)
    assert response["response"]["body"]["output"][0]["content"][0]["text"] == text(5)
    [refused] = await lines_of(client, done["embeddings"].error_file_id)
    assert refused["response"]["body"]["error"]["code"] == "model_does_not_embed"


async def test_a_line_may_have_several_prompts(client: Any) -> None:
    content = jsonl({**COMPLETION, "prompt": ["ebb", "flow"], "n": 2}, url="/v1/completions")
    file = await client.files.create(file=("in.jsonl", content), purpose="batch")
    batch = await client.batches.create(
        input_file_id=file.id, endpoint="/v1/completions", completion_window="24h"
    )  # fmt: skip
    done = await ended(client, batch.id)
    [line] = await lines_of(client, done.output_file_id)
    answer = line["response"]["body"]
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert answer["usage"]["completion_tokens"] == 20


async def test_an_input_file_that_is_wrong_says_where(client: Any, cluster: Cluster) -> None:
    wrong = jsonl(ASK, {**ASK, "stream": True}) + b"{\n" + jsonl(ASK, url="/v1/responses")
    unknown = jsonl(ASK, {**ASK, "model": "gpt-7"})
    failed = []
    for content in (wrong, unknown, b"\n"):
        file = await client.files.create(file=("in.jsonl", content), purpose="batch")
        batch = await client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
        failed.append(await ended(client, batch.id))
    assert [batch.status for batch in failed] == ["failed"] * 3
    problems = [[(problem.code, problem.line, problem.param) for problem in batch.errors.data] for batch in failed]
    assert problems == [
        [
            ("streaming_unsupported", 2, "body.stream"),
            ("invalid_json_line", 3, None),
            ("duplicate_custom_id", 4, "custom_id"),
        ],
        [("model_not_found", 2, "body.model")],
        [("empty_file", None, None)],
    ]
    assert failed[1].errors.data[0].message.startswith("Line 2 (custom_id 'r1'): The model 'gpt-7' does not exist")
    assert not cluster.router.submits


async def test_wrong_batches_are_refused(client: Any, gateway: GatewayApp, cluster: Cluster) -> None:
    picture = await client.files.create(file=("a.png", b"x"), purpose="vision")
    file = await client.files.create(file=("in.jsonl", jsonl(ASK)), purpose="batch")
    batch = {"input_file_id": file.id, "endpoint": CHAT, "completion_window": "24h"}
    soon = {"anchor": "created_at", "seconds": 60}
    async with httpx.AsyncClient(
        base_url=f"http://{gateway.http_address}/v1", headers={"authorization": f"Bearer {KEY}"}, timeout=20
    ) as http:
        refusals = [
            (await http.get("/files/file-1"), 404, "id"),
            (await http.get("/files/..%2f..%2fsecret"), 404, None),
            (await http.get("/files?limit=many"), 400, "limit"),
            (await http.get("/files?order=up"), 400, "order"),
            (await http.get("/files?after=file-1"), 404, "after"),
            (await http.get("/batches/batch_1"), 404, "batch_id"),
            (await http.get("/batches?after=batch_1"), 404, "after"),
            (await http.post("/batches", json={"endpoint": CHAT}), 400, "input_file_id"),
            (await http.post("/batches", json={**batch, "input_file_id": "x"}), 404, "input_file_id"),
            (await http.post("/batches", json={**batch, "input_file_id": picture.id}), 400, "input_file_id"),
            (await http.post("/batches", json={**batch, "endpoint": "/v1/moderations"}), 400, "endpoint"),
            (
                await http.post("/batches", json={**batch, "output_expires_after": soon}),
                400,
                "output_expires_after.seconds",
            ),
        ]
    for answer, status, param in refusals:
        assert answer.status_code == status, answer.text
        assert answer.json()["error"]["param"] == param, answer.text


async def test_without_a_store_there_are_no_files(cluster: Cluster) -> None:
    for path in ("/v1/files", "/v1/batches", "/v1/files/file-1/content"):
        answer = await cluster.http.get(path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (501, "not_configured")


async def test_every_purpose_is_kept_as_given(client: Any) -> None:
    purposes = ("assistants", "batch", "evals", "fine-tune", "user_data", "vision")
    made = [await client.files.create(file=(f"{purpose}.txt", b"tide"), purpose=purpose) for purpose in purposes]
    assert [file.purpose for file in made] == list(purposes)
    assert (await client.files.retrieve(made[0].id)).purpose == "assistants"
    assert (await client.files.content(made[-1].id)).text == "tide"
    with pytest.raises(openai.BadRequestError) as refused:
        await client.files.create(file=("a.txt", b"tide"), purpose="poetry")
    assert (refused.value.param, refused.value.code) == ("purpose", "invalid_value")
    assert all(f"'{purpose}'" in refused.value.message for purpose in purposes)


async def test_lists_of_files_are_filtered_and_ordered_before_they_are_paged(client: Any) -> None:
    made = []
    for n in range(5):
        await client.files.create(file=("in.jsonl", jsonl(ASK)), purpose="batch")
        made.append((await client.files.create(file=(f"{n}.txt", b"x"), purpose="evals")).id)
    listed = [file.id async for file in client.files.list(purpose="evals", limit=2)]
    assert listed[:5] == made[::-1]  # other tests leave files too
    page = await client.files.list(purpose="evals", limit=2, order="asc", after=made[0])
    assert ([file.id for file in page.data], page.has_more) == (made[1:3], True)
    page = await client.files.list(purpose="evals", limit=2, order="asc", after=page.data[-1].id)
    assert ([file.id for file in page.data], page.has_more) == (made[3:], False)
    with pytest.raises(openai.NotFoundError) as refused:
        await client.files.list(after="file-unknown")
    assert refused.value.body == {
        "message": "No such File object: file-unknown",
        "type": "invalid_request_error",
        "param": "after",
        "code": "not_found",
    }


async def test_files_expire_when_their_upload_says_so(client: Any) -> None:
    for seconds in (3600, 2_592_000):
        file = await client.files.create(
            file=("a.txt", b"x"), purpose="user_data", expires_after={"anchor": "created_at", "seconds": seconds}
        )
        assert file.expires_at == file.created_at + seconds
        assert (await client.files.retrieve(file.id)).expires_at == file.expires_at
    assert (await client.files.create(file=("a.txt", b"x"), purpose="user_data")).expires_at is None
    for expires_after, param in (
        ({"anchor": "created_at", "seconds": 3599}, "expires_after[seconds]"),
        ({"anchor": "created_at", "seconds": 2_592_001}, "expires_after[seconds]"),
        ({"anchor": "created_at", "seconds": 3600.5}, "expires_after[seconds]"),
        ({"anchor": "created_at"}, "expires_after[seconds]"),
        ({"anchor": "last_used_at", "seconds": 3600}, "expires_after[anchor]"),
        ({"seconds": 3600}, "expires_after[anchor]"),
        ({"anchor": "created_at", "seconds": 3600, "hours": 1}, "expires_after[hours]"),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            await client.files.create(file=("a.txt", b"x"), purpose="user_data", expires_after=expires_after)
        assert refused.value.param == param


async def test_wrong_uploads_are_refused(client: Any, gateway: GatewayApp) -> None:
    async with httpx.AsyncClient(
        base_url=f"http://{gateway.http_address}/v1", headers={"authorization": f"Bearer {KEY}"}, timeout=20
    ) as http:
        upload = {"file": ("a.jsonl", b"{}")}
        refusals = [
            (await http.post("/files", files=upload), 400, "purpose"),
            (await http.post("/files", files=upload, data={"purpose": "batch_output"}), 400, "purpose"),
            (await http.post("/files", files={"file": ("a", b"")}, data={"purpose": "batch"}), 400, "file"),
            (await http.post("/files", data={"purpose": "batch"}, files={"other": ("a", b"x")}), 400, "file"),
            (
                await http.post("/files", files=upload, data={"purpose": "batch", "expires_after": "{}"}),
                400,
                "expires_after",
            ),
            (await http.post("/files", json={}), 415, None),
        ]
    for answer, status, param in refusals:
        assert answer.status_code == status, answer.text
        assert answer.json()["error"]["param"] == param, answer.text
        assert "nput should" not in answer.text


async def test_uploads_wait_for_their_turn(client: Any) -> None:
    """Found by generated requests: sixteen at once met 503s."""
    uploads = (client.files.create(file=(f"{n}.jsonl", jsonl(ASK)), purpose="batch") for n in range(16))
    assert len({file.id for file in await asyncio.gather(*uploads)}) == 16


async def test_uploads_are_bounded(cluster: Cluster, start: Started, s3: StoreSettings) -> None:
    told = settings(cluster.router.address, **s3.model_dump(), max_file_bytes=1024)
    gateway: GatewayApp = await start(GatewayApp(told, random=Random()))
    base = f"http://{gateway.http_address}/v1"
    async with openai.AsyncOpenAI(base_url=base, api_key=KEY, max_retries=0, timeout=20) as client:
        with pytest.raises(openai.APIStatusError) as refused:
            await client.files.create(file=("in.jsonl", b"x" * 200_000), purpose="batch")
    assert (refused.value.status_code, refused.value.code) == (413, "request_too_large")


async def test_tenants_see_their_own(client: Any, gateway: GatewayApp) -> None:
    file = await client.files.create(file=("in.jsonl", jsonl(ASK)), purpose="batch")
    store = gateway._batches.files  # type: ignore[union-attr]
    assert (await store.get("default", file.id)).id == file.id
    with pytest.raises(Exception, match="No such File"):
        await store.get("another", file.id)
