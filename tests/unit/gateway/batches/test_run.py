"""Batches in one gateway's hands and in the next one's, on an object store in memory."""

import asyncio
import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest
from obstore.store import MemoryStore

from services.gateway.batches import run as run_module
from services.gateway.batches.batch import Batch, mint_id
from services.gateway.batches.line_requests import LineRequests
from services.gateway.batches.run import BatchRun, Lost
from services.gateway.batches.store import BatchStore, Stored
from services.gateway.files.store import FileStore
from services.shared.clock import SystemClock
from services.shared.errors import InvalidRequest, QueueFull, StoreUnavailable, Unauthenticated, UnknownModel
from services.shared.objectstore import Conflict, ObjectStore
from tests.support.wait import wait_until

LINES = 6


class Asking:
    """Answers with what was asked; `hold` keeps all but the first from being answered."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self.busy = 0
        self.looked_up: list[list[str]] = []
        self.look_up_fails: list[Exception] = []

    async def unknown_models(self, batch: Batch, models: Iterable[str]) -> dict[str, UnknownModel]:
        self.looked_up.append(list(models))
        if self.look_up_fails:
            raise self.look_up_fails.pop()
        return {model: UnknownModel(f"no {model}", param="model") for model in models if model.startswith("no")}

    async def ask(self, batch: Batch, body: dict[str, Any], request_id: str) -> dict[str, Any]:
        self.asked.append(body["say"])
        if self.busy:
            self.busy -= 1
            raise QueueFull("full", retry_after_s=0.001)
        if body["say"] == "bad":
            raise InvalidRequest("bad", param="say")
        if body["say"] != "0":
            await self.hold.wait()
        return {"said": body["say"]}


class World:
    def __init__(self, folder: Path) -> None:
        store, random = ObjectStore(MemoryStore()), Random(1)
        self.folder, self.random = folder, random
        self.files, self.batches = FileStore(store, SystemClock(), random.getrandbits), BatchStore(store)
        self.line_requests = Asking()

    async def create(self, *said: str, models: tuple[str, ...] = (), **changes: Any) -> Batch:
        bodies = ({"model": models[n] if models else "m", "say": say} for n, say in enumerate(said))
        content = b"".join(
            json.dumps({"custom_id": f"r{n}", "method": "POST", "url": "/v1/completions", "body": body}).encode()
            + b"\n"
            for n, body in enumerate(bodies)
        )
        path = self.folder / "in.jsonl"
        path.write_bytes(content)
        file = await self.files.save("t", "in.jsonl", "batch", path, len(content))
        now = SystemClock().wall()
        batch = Batch(
            id=mint_id(now, self.random.getrandbits(80)), tenant="t", key_id="k",
            endpoint="/v1/completions", input_file_id=file.id, created=int(now), **changes,
        )  # fmt: skip
        await self.batches.create(batch)
        return batch

    async def hold(self, batch: Batch, owner: str) -> BatchRun:
        stored = await self.batches.get("t", batch.id)
        held = await self.batches.put(stored, stored.batch.model_copy(update={"owner": owner}))
        return self.run_of(held)

    def run_of(self, held: Stored) -> BatchRun:
        line_requests = cast(LineRequests, self.line_requests)
        return BatchRun(
            held, self.batches, self.files, line_requests, concurrency=2, clock=SystemClock(), random=self.random
        )  # fmt: skip

    async def lines_of(self, file_id: str | None) -> list[dict[str, Any]]:
        assert file_id
        pieces = [piece async for piece in await self.files.content("t", file_id)]
        return [json.loads(line) for line in b"".join(pieces).splitlines()]

    async def now(self, batch: Batch) -> Batch:
        return (await self.batches.get("t", batch.id)).batch


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(run_module, "BEAT_S", 0.05)
    return World(tmp_path)


async def test_responses_and_errors_have_a_file_each(world: World) -> None:
    world.line_requests.busy = 2
    batch = await world.create("0", "bad", "2")
    await (await world.hold(batch, "a")).run()
    ended = await world.now(batch)
    assert (ended.status, ended.counts.model_dump()) == ("completed", {"total": 3, "completed": 2, "failed": 1})
    answers = {line["custom_id"]: line["response"] for line in await world.lines_of(ended.output_file_id)}
    assert {name: answer["body"]["said"] for name, answer in answers.items()} == {"r0": "0", "r2": "2"}
    [error] = await world.lines_of(ended.error_file_id)
    assert (error["response"]["status_code"], error["response"]["body"]["error"]["param"]) == (400, "say")
    assert not [found async for found in world.batches.open_batches()]


async def test_another_gateway_continues_after_one_was_killed(world: World) -> None:
    batch = await world.create(*map(str, range(LINES)))
    world.line_requests.hold.clear()
    killed = asyncio.create_task((await world.hold(batch, "a")).run())
    await wait_until(_counted(world, batch, 1), description="the first answer is kept")
    killed.cancel()
    await asyncio.wait([killed])
    world.line_requests.hold.set()
    await (await world.hold(batch, "b")).run()
    ended = await world.now(batch)
    assert (ended.status, ended.counts.completed) == ("completed", LINES)
    assert sorted(line["custom_id"] for line in await world.lines_of(ended.output_file_id)) == [
        f"r{n}" for n in range(LINES)
    ]
    assert world.line_requests.asked.count("0") == 1


async def test_a_gateway_that_lost_its_batch_stops(world: World) -> None:
    batch = await world.create("0", "1")
    world.line_requests.hold.clear()
    stalled = asyncio.create_task((await world.hold(batch, "a")).run())
    await wait_until(_counted(world, batch, 1), description="the first answer is kept")
    other = None
    while other is None:
        stored = await world.batches.get("t", batch.id)
        taken = stored.batch.model_copy(update={"owner": "b", "beat": stored.batch.beat + 1})
        # The gateway that holds it may count a line in between.
        with suppress(Conflict):
            other = await world.batches.put(stored, taken)
    with pytest.raises(ExceptionGroup) as lost:
        await stalled
    assert lost.group_contains(Lost)
    world.line_requests.hold.set()
    await world.run_of(other).run()
    assert len(await world.lines_of((await world.now(batch)).output_file_id)) == 2


async def test_cancelling_keeps_what_is_done_and_names_the_rest(world: World) -> None:
    batch = await world.create("0", "1", "2", output_lifetime_s=3600)
    world.line_requests.hold.clear()
    running = asyncio.create_task((await world.hold(batch, "a")).run())
    await wait_until(_counted(world, batch, 1), description="the first answer is kept")
    await world.batches.change("t", batch.id, lambda batch: batch.entered("cancelling", 5))
    await running
    ended = await world.now(batch)
    assert (ended.status, ended.reached["cancelling"]) == ("cancelled", 5)
    assert ended.counts.model_dump() == {"total": 3, "completed": 1, "failed": 0}
    assert [line["custom_id"] for line in await world.lines_of(ended.output_file_id)] == ["r0"]
    rest = await world.lines_of(ended.error_file_id)
    assert [(line["custom_id"], line["response"], line["error"]["code"]) for line in rest] == [
        ("r1", None, "batch_cancelled"),
        ("r2", None, "batch_cancelled"),
    ]
    for file_id in (ended.output_file_id, ended.error_file_id):
        file = await world.files.get("t", file_id or "")
        assert file.expires == file.created + 3600


async def test_a_batch_that_is_cancelled_before_it_began_runs_nothing(world: World) -> None:
    batch = await world.create("0", "1")
    await world.batches.change("t", batch.id, lambda batch: batch.entered("cancelling", 5))
    await (await world.hold(batch, "a")).run()
    ended = await world.now(batch)
    assert (ended.status, ended.counts.total, world.line_requests.asked) == ("cancelled", 2, [])
    assert len(await world.lines_of(ended.error_file_id)) == 2


async def test_counts_move_before_the_first_long_beat(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "BEAT_S", 3600.0)
    monkeypatch.setattr(run_module, "FIRST_BEAT_S", 0.05)
    batch = await world.create("0", "1")
    world.line_requests.hold.clear()
    running = asyncio.create_task((await world.hold(batch, "a")).run())
    await wait_until(_counted(world, batch, 1), description="one of two is counted")
    assert (await world.now(batch)).counts.model_dump() == {"total": 2, "completed": 1, "failed": 0}
    running.cancel()
    await asyncio.wait([running])


async def test_unknown_models_fail_the_batch_before_anything_runs(world: World) -> None:
    world.line_requests.look_up_fails = [StoreUnavailable("no router yet", retry_after_s=0.001)]
    batch = await world.create("0", "1", "2", "3", models=("m", "no2", "no1", "no2"))
    await (await world.hold(batch, "a")).run()
    ended = await world.now(batch)
    assert world.line_requests.looked_up == [["m", "no2", "no1"]] * 2
    assert (ended.status, ended.counts.total, world.line_requests.asked) == ("failed", 0, [])
    assert [problem.model_dump() for problem in ended.problems] == [
        {"code": "model_not_found", "message": "Line 2 (custom_id 'r1'): no no2", "param": "body.model", "line": 2},
        {"code": "model_not_found", "message": "Line 3 (custom_id 'r2'): no no1", "param": "body.model", "line": 3},
    ]
    assert (ended.output_file_id, ended.error_file_id) == (None, None)


async def test_a_key_without_rights_is_no_matter_of_the_file(world: World) -> None:
    world.line_requests.look_up_fails = [Unauthenticated("revoked")]
    batch = await world.create("0")
    await (await world.hold(batch, "a")).run()
    assert (await world.now(batch)).status == "completed"


async def test_an_invalid_input_file_fails_the_batch(world: World) -> None:
    batch = await world.create("0")
    await world.files.delete("t", batch.input_file_id)
    await (await world.hold(batch, "a")).run()
    ended = await world.now(batch)
    assert (ended.status, ended.problems[0].code, ended.problems[0].param) == (
        "failed", "invalid_request", "input_file_id",
    )  # fmt: skip
    assert batch.input_file_id in ended.problems[0].message


async def test_what_was_done_is_handed_over_even_if_the_input_is_gone(world: World) -> None:
    batch = await world.create("0", "1")
    world.line_requests.hold.clear()
    killed = asyncio.create_task((await world.hold(batch, "a")).run())
    await wait_until(_counted(world, batch, 1), description="the first answer is kept")
    killed.cancel()
    await asyncio.wait([killed])
    await world.files.delete("t", batch.input_file_id)
    await (await world.hold(batch, "b")).run()
    ended = await world.now(batch)
    assert (ended.status, ended.counts.model_dump()) == ("failed", {"total": 2, "completed": 1, "failed": 0})
    assert [line["custom_id"] for line in await world.lines_of(ended.output_file_id)] == ["r0"]


async def test_a_batch_expires(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = await world.create("0", "1")
    world.line_requests.hold.clear()
    monkeypatch.setattr("services.gateway.batches.batch.WINDOW_S", 1)
    await (await world.hold(batch, "a")).run()
    ended = await world.now(batch)
    assert ended.status == "expired"
    assert [line["error"]["code"] for line in await world.lines_of(ended.error_file_id)][-1] == "batch_expired"


def _counted(world: World, batch: Batch, completed: int) -> Callable[[], Any]:
    async def reached() -> bool:
        return (await world.now(batch)).counts.completed >= completed

    return reached
