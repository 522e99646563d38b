"""A worker proves its golden prompts before it takes its first request."""

from pathlib import Path

import httpx
import pytest

from services.shared.clock import SystemClock
from services.shared.engine_settings import SimulatedEngine as SimulatedConfig
from services.shared.manifests import Golden, Manifest, make
from services.shared.objectstore import ObjectStore
from services.worker.app import WorkerApp
from services.worker.engine.contract import Delta, EngineRequest, Model, Sampling, TokenPrompt
from services.worker.engine.simulated.engine import SimulatedEngine
from services.worker.engine.simulated.faults import Faults
from services.worker.status import State
from tests.integration.worker.conftest import ENGINE, StartWorker
from tests.integration.worker.router import Router
from tests.integration.worker.store import FILES, publish
from tests.support.signing import KEY
from tests.support.wait import wait_until
from tests.unit.worker.models import manifest_of

PROMPTS = ((1, 2, 3), (4, 5), (300, 301))


async def answer(manifest: Manifest, prompt: tuple[int, ...]) -> tuple[int, ...]:
    engine = SimulatedEngine(SimulatedConfig.model_validate(ENGINE), SystemClock())
    await engine.start(Model(manifest=manifest, folder=Path("no folder")))
    request = EngineRequest("golden", TokenPrompt(prompt), Sampling(max_tokens=6, temperature=0.0))
    tokens = [
        token async for event in engine.generate(request) if isinstance(event, Delta) for token in event.token_ids
    ]
    await engine.stop()
    return tuple(tokens)


async def publish_with_golden(store: ObjectStore, *, change: int = 0) -> Manifest:
    """change: added to the last token that the last golden prompt expects."""
    plain = manifest_of(FILES)
    golden = [Golden(prompt_token_ids=p, expected_token_ids=await answer(plain, p)) for p in PROMPTS]
    *right, last = golden[-1].expected_token_ids
    golden[-1] = Golden(prompt_token_ids=PROMPTS[-1], expected_token_ids=(*right, last + change))
    made = make(**plain.model_dump(exclude={"version", "signature", "signer"}) | {"golden": golden})
    return await publish(store, manifest=KEY.sign(made))


async def shown(worker: WorkerApp) -> str:
    async with httpx.AsyncClient(base_url=f"http://{worker.http_address}") as http:
        return (await http.get("/metrics")).text


async def test_right_answers_make_it_ready_and_are_told_in_log_heartbeat_and_metrics(
    start_worker: StartWorker, store: ObjectStore, router: Router, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    manifest = await publish_with_golden(store)
    worker = await start_worker()
    await wait_until(lambda: router.states[-1:] == [State.READY], description="it is ready")
    assert router.heartbeats[-1].golden_prompts_proved == len(PROMPTS)
    assert not router.heartbeats[0].HasField("golden_prompts_proved")
    assert f"golden prompts proved: 3 of 3 for tide@{manifest.version}" in caplog.messages
    assert 'tidegate_worker_golden_prompts_proved{pool="tide"} 3.0' in await shown(worker)


async def test_a_version_without_golden_prompts_makes_it_ready_and_tells_none(
    worker: WorkerApp, router: Router
) -> None:
    await wait_until(lambda: router.states[-1] == State.READY, description="its router knows")
    assert router.heartbeats[-1].HasField("golden_prompts_proved")
    assert router.heartbeats[-1].golden_prompts_proved == 0
    assert 'tidegate_worker_golden_prompts_proved{pool="tide"} 0.0' in await shown(worker)


async def test_a_wrong_answer_ends_it_before_it_is_ready_and_is_told(
    start_worker: StartWorker, store: ObjectStore, router: Router
) -> None:
    manifest = await publish_with_golden(store, change=1)
    worker = await start_worker()
    await wait_until(worker.ended.is_set, description="it has ended")
    assert worker.failure is not None
    assert worker.failure.startswith(f"tide@{manifest.version} does not run as it was published: golden prompt 2: ")
    assert worker.live() == worker.failure
    assert worker.status.golden_proved is None
    assert State.READY not in router.states


async def test_an_engine_that_does_not_answer_ends_it_within_the_limit(
    start_worker: StartWorker, store: ObjectStore, router: Router, faults: Faults
) -> None:
    await publish_with_golden(store)
    faults.hang = True
    worker = await start_worker(swap_limit_s=0.2)
    await wait_until(worker.ended.is_set, description="it has ended")
    assert worker.failure == "the engine did not answer its golden prompts within 0.2 s"
    assert State.READY not in router.states
