"""Weights change while long answers run: nobody waits for these, and they say which tokens came from which version."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from loadtests.redis_server import RedisServer
from services.gateway.app import GatewayApp
from services.router.app import RouterApp
from services.shared.clock import SystemClock
from services.shared.config import load
from services.shared.engine_settings import SimulatedEngine as SimulatedConfig
from services.shared.manifests import Manifest
from services.shared.rpc import channel
from services.shared.swap_mode import SwapMode
from services.worker.app import WorkerApp
from services.worker.engine.contract import ChatPrompt, Sampling
from services.worker.engine.simulated.choice import SimulatedChoice
from services.worker.engine.simulated.engine import SimulatedEngine
from services.worker.engine.simulated.faults import Faults
from services.worker.engine.simulated.prompt import tokens_of
from services.worker.engine.simulated.tokens import Oracle
from services.worker.status import State
from tests.integration.cluster.whole import API_KEY, WholeCluster, metrics_of
from tests.integration.worker.store import FILES, publish
from tests.support.key_leaks import request_keys
from tests.support.plain_http import no_certificates
from tests.support.tensor_files import tensor_file
from tests.support.wait import wait_until
from tests.unit.worker.models import manifest_of
from tidegate.router.v1 import router_pb2 as pb
from tidegate.router.v1.router_pb2_grpc import ControlServiceStub

NEWER = FILES | {"model.safetensors": tensor_file(b"newer!!")}
# More tokens than a rollout has steps: long answers run before, during and after it.
LONG, SHORT = 2000, 3
QUESTIONS = ("Where does the tide go?", "Who counts the waves?", "What does the moon want?")
# No wait that this test makes is longer; a busy machine takes its time.
LIMIT_S = 20.0


def config(*, swap_s: float) -> str:
    engine = f"kind: simulated, max_running: 8, step_ms: 10, swap_ms: {swap_s * 1000:.0f}"
    return f"pools: [{{name: tide, model: tide, engine: {{{engine}}}, weight_updates: {{hold_s: 0.2}}}}]"


@dataclass
class Piece:
    """Text that one version gave."""

    fingerprint: str
    text: str = ""


@dataclass
class Long:
    """A long answer as its client gets it."""

    question: str
    pieces: list[Piece] = field(default_factory=list)
    reading: asyncio.Task[None] | None = None

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    @property
    def fingerprints(self) -> list[str]:
        return [piece.fingerprint for piece in self.pieces]

    def leave(self) -> None:
        """Its client has gone."""
        assert self.reading is not None
        self.reading.cancel()

    async def read(self, http: httpx.AsyncClient) -> None:
        """Reads until the client leaves."""
        body = body_of(self.question, LONG) | {"stream": True}
        async with http.stream("POST", "/v1/chat/completions", json=body) as answer:
            assert answer.status_code == 200
            async for line in answer.aiter_lines():
                if line.startswith("data: {"):
                    self.take(json.loads(line.removeprefix("data: ")))
        raise AssertionError("the answer ended too soon")

    def take(self, event: dict[str, Any]) -> None:
        assert "error" not in event, event
        if not self.pieces or self.pieces[-1].fingerprint != event["system_fingerprint"]:
            self.pieces.append(Piece(event["system_fingerprint"]))
        for choice in event["choices"]:
            self.pieces[-1].text += choice["delta"].get("content") or ""


def body_of(question: str, tokens: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}]
    return {"model": "tide", "messages": messages, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}


def words(manifest: Manifest, question: str, tokens: int = LONG) -> list[str]:
    """What these weights say, token by token, by the definition of the simulated engine alone."""
    prompt = tokens_of(ChatPrompt([{"role": "user", "content": question}]))
    oracle = Oracle(manifest.weights_sha256, prompt, Sampling(temperature=0.0, ignore_eos=True), 0)
    answer = SimulatedChoice(oracle, tokens)
    return [answer.next().text for _ in range(tokens)]


def mark(manifest: Manifest) -> str:
    return f"fp_{manifest.version[:12]}"


def is_crossing(said: Long, old: Manifest, new: Manifest) -> bool:
    """It began as the old weights say, and goes on, from some token, as the new ones do."""
    first, second = said.pieces
    before, after = words(old, said.question), words(new, said.question)
    tokens = next(count for count in range(LONG) if len("".join(before[:count])) >= len(first.text))
    expected = "".join(after[tokens:])
    return first.text == "".join(before[:tokens]) and len(second.text) > 0 and expected.startswith(second.text)


@dataclass
class Others:
    """Short requests that come one after another while weights change: how long each of them took."""

    seconds: list[float] = field(default_factory=list)

    async def ask(self, http: httpx.AsyncClient) -> None:
        while True:
            began = time.monotonic()
            answer = await http.post("/v1/chat/completions", json=body_of("And you?", SHORT))
            assert answer.status_code == 200, answer.text
            self.seconds.append(time.monotonic() - began)


@asynccontextmanager
async def clients(gateway: GatewayApp) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {API_KEY}"}
    base = f"http://{gateway.http_address}"
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=60, verify=no_certificates()) as http:
        yield http


async def started(cluster: WholeCluster, *workers: str) -> tuple[RouterApp, GatewayApp, list[WorkerApp]]:
    await cluster.write_config(config(swap_s=0.3))
    router = await cluster.router()
    gateway = await cluster.gateway(router.address)
    apps = [await cluster.start_worker(name, router.address) for name in workers]
    for app in apps:
        await wait_until(lambda app=app: app.ready() is None, description="the worker is ready", timeout=60)  # type: ignore[misc]
    return router, gateway, apps


async def roll_out(router: RouterApp, version: str, mode: SwapMode) -> None:
    request = pb.StartRolloutRequest(pool="tide", model_version=version, mode=pb.SwapMode.Value(mode.proto_name))
    async with channel(router.address) as opened:
        await ControlServiceStub(opened).StartRollout(request, timeout=10)


async def is_done(router: RouterApp) -> bool:
    return (await metrics_of(router)).get('tidegate_router_rollouts_total{pool="tide",state="done"}') == 1


@asynccontextmanager
async def long_answers(http: httpx.AsyncClient) -> AsyncIterator[list[Long]]:
    """Three long answers that have begun. At the end those whose clients stay must go on."""
    answers = [Long(question) for question in QUESTIONS]
    for answer in answers:
        answer.reading = asyncio.create_task(answer.read(http))
    await wait_until(lambda: all(len(a.text) > 20 for a in answers), description="long answers run", timeout=LIMIT_S)
    yield answers
    stay = [answer for answer in answers if answer.reading and not answer.reading.cancelled()]
    lengths = [len(answer.text) for answer in stay]
    await wait_until(
        lambda: all(len(a.text) > length + 20 for a, length in zip(stay, lengths, strict=True)),
        description="long answers go on",
        timeout=LIMIT_S,
    )
    for answer in answers:
        answer.leave()
    ends = await asyncio.gather(*(a.reading for a in answers if a.reading), return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends


@pytest.mark.parametrize(
    ("mode", "workers"),
    [(SwapMode.FINISH, ("w1",)), (SwapMode.RECOMPUTE, ("w1",)), (SwapMode.HAND_OVER, ("w1", "w2"))],
)
async def test_no_long_answer_stops_a_rollout_and_nobody_waits_for_it(
    cluster: WholeCluster, mode: SwapMode, workers: tuple[str, ...]
) -> None:
    router, gateway, apps = await started(cluster, *workers)
    old = manifest_of(FILES)
    new = await publish(cluster.store, NEWER)
    others = Others()
    async with clients(gateway) as http, long_answers(http) as answers:
        asking = asyncio.create_task(others.ask(http))
        began = time.monotonic()
        await roll_out(router, new.version, mode)
        await wait_until(lambda: is_done(router), description="the rollout is done", timeout=LIMIT_S)
        took = time.monotonic() - began
        await wait_until(lambda: all(len(a.pieces) > 1 for a in answers), description="all cross", timeout=LIMIT_S)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    assert {app.engine.info.model_version for app in apps} == {new.version}
    for answer in answers:
        assert answer.fingerprints == [mark(old), mark(new)]
        assert is_crossing(answer, old, new)
    assert took < LIMIT_S
    assert others.seconds
    assert max(others.seconds) < took, "it waited for a swap, and not for a long answer"


async def all_given_back(worker: WorkerApp) -> None:
    """The worker changes its weights, and no request runs there."""
    await wait_until(
        lambda: worker.status.sealed and not worker.status.requests, description="nothing runs", timeout=LIMIT_S
    )


async def test_a_router_that_ends_and_a_client_that_leaves_in_a_swap_cost_nobody_a_token(
    cluster: WholeCluster, redis_server: RedisServer
) -> None:
    await cluster.write_config(config(swap_s=1.0))
    routers = [await cluster.router(name) for name in ("router-1", "router-2")]
    gateway = await cluster.gateway(*(router.address for router in routers))
    worker = await cluster.start_worker("w1", *(router.address for router in routers))
    await wait_until(lambda: worker.ready() is None, description="the worker is ready", timeout=60)
    old, new = manifest_of(FILES), await publish(cluster.store, NEWER)
    async with clients(gateway) as http, long_answers(http) as answers:
        await roll_out(routers[1], new.version, SwapMode.RECOMPUTE)
        await all_given_back(worker)
        answers[0].leave()
        await routers[0].stop()
        await wait_until(lambda: worker.status.state is State.READY, description="it has changed", timeout=LIMIT_S)
        await wait_until(
            lambda: all(len(a.pieces) > 1 for a in answers[1:]), description="the others cross", timeout=LIMIT_S
        )
    for answer in answers[1:]:
        assert is_crossing(answer, old, new)
    assert len(answers[0].pieces) == 1
    await wait_until(lambda: not request_keys(redis_server.client), description="nothing is left", timeout=LIMIT_S)
    await wait_until(lambda: not worker.engine.load().running, description="the engine is idle", timeout=LIMIT_S)


async def test_a_worker_that_is_lost_in_its_swap_takes_no_answer_with_it(cluster: WholeCluster) -> None:
    """They wait for its next process, which starts on the old version, and stay with it."""
    await cluster.write_config(config(swap_s=0.1))
    router = await cluster.router()
    gateway = await cluster.gateway(router.address)
    pool = load(cluster.config).pool("tide")
    assert isinstance(pool.engine, SimulatedConfig)
    engine = SimulatedEngine(pool.engine, SystemClock(), Faults(swap="crash"))
    worker = await cluster.start_worker("w1", router.address, engine=engine)
    await wait_until(lambda: worker.ready() is None, description="the worker is ready", timeout=60)
    old, new = manifest_of(FILES), await publish(cluster.store, NEWER)
    async with clients(gateway) as http, long_answers(http) as answers:
        await roll_out(router, new.version, SwapMode.RECOMPUTE)
        await asyncio.wait_for(worker.ended.wait(), LIMIT_S)
        await cluster.stop_worker("w1")
        said = [answer.text for answer in answers]
        await cluster.start_worker("w1", router.address)
        await wait_until(
            lambda: all(a.text != text for a, text in zip(answers, said, strict=True)),
            description="they go on",
            timeout=LIMIT_S,
        )
    for answer in answers:
        assert answer.fingerprints == [mark(old)]
        assert "".join(words(old, answer.question)).startswith(answer.text)
