"""After any failure of a weight update the worker serves one whole version, or it gives up."""

import asyncio
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from services.shared.clock import SystemClock
from services.shared.manifests import Golden, make
from services.shared.objectstore import StoreError
from services.shared.registry import UnknownVersion
from services.shared.staging import RefusedModel
from services.shared.swap_mode import SwapMode
from services.shared.tracing import Tracing
from services.worker.engine.contract import EngineDead, EngineLoad, Model, SwapFailed
from services.worker.hold import Bounds
from services.worker.metrics import Metrics
from services.worker.status import Identity, State, Status
from services.worker.update_trace import UpdateTrace
from services.worker.weight_update import Limits, UpdateOrder, WeightUpdates
from services.worker.weight_update_report import Phase, Report
from tests.support.spans import KeptSpans
from tests.support.wait import wait_until
from tests.unit.worker.models import manifest_of
from tests.unit.worker.scripted import ScriptedEngine, says


def model(weights: bytes, **changed: object) -> Model:
    """A model whose golden prompt the scripted engine can answer."""
    manifest = manifest_of({"model.safetensors": weights})
    golden = Golden(prompt_token_ids=(1,), expected_token_ids=(says(Model(Path(), manifest)),))
    made = make(**manifest.model_dump(exclude={"version"}) | {"golden": (golden,)} | changed)
    return Model(Path("cache", weights.decode()), made)


OLD, NEW, OTHER = model(b"old"), model(b"new"), model(b"other", tokenizer_sha256="1" * 64)
NEW_VERSION = NEW.manifest.version
LIMITS = Limits(stage_s=20, hold=Bounds(SwapMode.FINISH, finish_s=20, hold_s=20), swap_s=20)


class NotedStatus(Status):
    def __init__(self, identity: Identity, phases: list[Phase]) -> None:
        super().__init__(identity)
        self._phases = phases

    def report_update(self, report: Report) -> None:
        self._phases.append(report.phase)
        super().report_update(report)


class Eager(SystemClock):
    """A clock without waiting: no grants are on their way."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


class Bench:
    """The parts of a worker around a scripted engine that serves OLD."""

    def __init__(self, engine: ScriptedEngine, limits: Limits = LIMITS, trace: UpdateTrace | None = None) -> None:
        self.engine, self.versions = engine, {m.manifest.version: m for m in (OLD, NEW, OTHER)}
        self.phases: list[Phase] = []
        self.status = NotedStatus(Identity("w", 1, "tide", 1, 8), self.phases)
        self.refusal: Exception | None = None
        self.stall: asyncio.Event | None = None
        self.in_use: list[set[str]] = []
        self.cannot_continue = 0
        self.moved: list[SwapMode] = []
        self.given_up: list[str] = []
        self.metrics = Metrics(CollectorRegistry(), EngineLoad)
        self.updates = WeightUpdates(
            engine,
            self.status,
            self,
            self.fetch,
            self.given_up.append,
            limits=limits,
            metrics=self.metrics,
            clock=Eager(),
            trace=trace,
        )
        self.updates.begin(OLD)
        self.status.loaded(engine.info)

    async def fetch(self, version: str, in_use: Collection[Path]) -> Model:
        self.in_use.append({folder.name for folder in in_use})
        if self.refusal:
            raise self.refusal
        if self.stall:
            await self.stall.wait()
        return self.versions[version]

    def fixed(self, older_than_s: float = 0.0) -> int:
        return self.cannot_continue

    def move(self, mode: SwapMode) -> None:
        self.moved.append(mode)
        while self.status.requests:
            self.status.request_ended()

    async def update(self, version: str = NEW_VERSION, name: str = "d1", **bounds: Any) -> Report:
        order = UpdateOrder(name, version, **bounds)
        assert self.updates.accept(order)
        await self.updates.run(order)
        assert self.status.weight_update is not None
        return self.status.weight_update

    @property
    def serves(self) -> tuple[State, str]:
        assert self.status.info is not None
        assert self.status.info.model_version == self.engine.info.model_version
        return self.status.state, self.status.info.model_version

    def count(self, outcome: str) -> float:
        return self.metrics.registry.get_sample_value("tidegate_worker_deliveries_total", {"outcome": outcome}) or 0


async def test_an_update_goes_through_its_phases_and_serves_the_new_version() -> None:
    bench = Bench(ScriptedEngine(OLD))
    assert (await bench.update()).phase is Phase.COMMITTED
    assert bench.phases == [Phase.STAGING, Phase.HOLDING, Phase.SWAPPING, Phase.PROVING, Phase.COMMITTED]
    assert bench.serves == (State.READY, NEW_VERSION)
    assert bench.count("committed") == 1
    assert (await bench.update(OLD.manifest.version, "d2")).phase is Phase.COMMITTED
    assert bench.serves == (State.READY, OLD.manifest.version)


async def test_the_spans_of_an_update_are_its_phases() -> None:
    kept = KeptSpans()
    tracing = Tracing(kept, "worker", CollectorRegistry(), SystemClock())
    bench = Bench(ScriptedEngine(OLD), trace=UpdateTrace(tracing, "tide", "w"))
    await bench.update()
    await tracing.stop()
    assert kept.names == ["staging", "holding", "swapping", "proving", "weight update"]


async def test_a_version_that_is_served_already_is_committed_at_once() -> None:
    bench = Bench(ScriptedEngine(OLD))
    assert (await bench.update(OLD.manifest.version)).phase is Phase.COMMITTED
    assert bench.engine.swaps == []


@pytest.mark.parametrize(
    "refusal", [RefusedModel("is corrupt"), UnknownVersion("no such"), StoreError("is away"), OSError("disk is full")]
)
async def test_a_version_that_cannot_be_staged_changes_nothing(refusal: Exception) -> None:
    bench = Bench(ScriptedEngine(OLD))
    bench.refusal = refusal
    report = await bench.update()
    assert (report.phase, bench.engine.swaps) == (Phase.FAILED, [])
    assert str(refusal) in report.reason
    assert bench.phases == [Phase.STAGING, Phase.FAILED]
    assert bench.serves == (State.READY, OLD.manifest.version)


async def test_an_engine_that_cannot_swap_says_so_before_anything_is_held() -> None:
    bench = Bench(ScriptedEngine(OLD))
    bench.engine.no_swap = "its weights are quantized"
    report = await bench.update()
    assert (report.phase, report.reason) == (Phase.NEEDS_RESTART, "its weights are quantized")
    assert bench.phases == [Phase.STAGING, Phase.NEEDS_RESTART]
    assert (bench.engine.swaps, bench.serves) == ([], (State.READY, OLD.manifest.version))
    assert bench.count("restart") == 1


async def test_an_engine_that_cannot_swap_refuses_a_version_that_cannot_be_staged() -> None:
    bench = Bench(ScriptedEngine(OLD))
    bench.engine.no_swap, bench.refusal = "its weights are quantized", RefusedModel("is corrupt")
    report = await bench.update()
    assert (report.phase, report.reason) == (Phase.FAILED, "is corrupt")


async def test_a_version_that_no_start_could_serve_is_refused_and_the_worker_goes_on() -> None:
    bench = Bench(ScriptedEngine(OLD))
    bench.engine.no_swap, bench.engine.unservable = "its weights are quantized", "layer 3 of 4 is missing"
    report = await bench.update()
    assert (report.phase, report.reason) == (Phase.FAILED, "layer 3 of 4 is missing")
    assert bench.phases == [Phase.STAGING, Phase.FAILED]
    assert bench.serves == (State.READY, OLD.manifest.version)


async def test_another_tokenizer_needs_a_restart() -> None:
    bench = Bench(ScriptedEngine(OLD))
    report = await bench.update(OTHER.manifest.version)
    assert report.phase is Phase.NEEDS_RESTART
    assert "tokenizer_sha256 is 1111" in report.reason
    assert (bench.engine.swaps, bench.serves) == ([], (State.READY, OLD.manifest.version))


async def test_a_swap_that_did_not_begin_needs_a_restart() -> None:
    bench = Bench(ScriptedEngine(OLD, SwapFailed("tensor a is missing", intact=True)))
    report = await bench.update()
    assert (report.phase, report.reason) == (Phase.NEEDS_RESTART, "tensor a is missing")
    assert (bench.engine.swaps, bench.serves) == ([NEW_VERSION], (State.READY, OLD.manifest.version))
    assert (Phase.RESTORING in bench.phases, bench.given_up) == (False, [])


async def test_a_start_that_is_part_of_a_rollout_is_reported() -> None:
    bench = Bench(ScriptedEngine(NEW))
    bench.updates.start_on(UpdateOrder("d1", NEW_VERSION))
    bench.updates.begin(NEW, UpdateOrder("d1", NEW_VERSION))
    assert bench.phases == [Phase.STAGING, Phase.COMMITTED]
    assert not bench.updates.accept(UpdateOrder("d1", NEW_VERSION))
    assert (await bench.update(OLD.manifest.version, "d2")).phase is Phase.COMMITTED


async def test_a_start_that_fails_is_reported() -> None:
    bench = Bench(ScriptedEngine(NEW))
    bench.updates.fail_to_start(UpdateOrder("d1", NEW_VERSION), "no memory")
    assert bench.status.weight_update == Report("d1", NEW_VERSION, Phase.FAILED, "no memory")


@pytest.mark.parametrize(
    ("failures", "wrong", "reason"),
    [
        ([SwapFailed("a tensor is missing", intact=False)], (), "a tensor is missing"),
        ([], (NEW_VERSION,), "golden prompt 0: token 0 is"),
    ],
    ids=["the swap failed half-way", "the golden prompt is answered wrongly"],
)
async def test_the_old_weights_are_put_back(failures: list[Exception], wrong: tuple[str, ...], reason: str) -> None:
    bench = Bench(ScriptedEngine(OLD, *failures, wrong=wrong))
    report = await bench.update()
    assert (report.phase, reason in report.reason) == (Phase.FAILED, True), report
    assert bench.engine.swaps == [NEW_VERSION, OLD.manifest.version]
    assert bench.engine.forgot == [OLD.manifest.version], "nobody knows what the new weights have computed"
    assert Phase.RESTORING in bench.phases
    assert bench.serves == (State.READY, OLD.manifest.version)
    assert bench.count("restored") == 1
    assert not bench.given_up


@pytest.mark.parametrize(
    ("failures", "wrong"),
    [
        ([EngineDead("gone")], ()),
        ([asyncio.CancelledError()], ()),
        ([SwapFailed("bad", intact=False), SwapFailed("worse", intact=False)], ()),
        ([SwapFailed("bad", intact=False)], (OLD.manifest.version,)),
    ],
    ids=[
        "the engine died",
        "the engine cancelled its work",
        "the old weights do not load either",
        "the old weights are not proven",
    ],
)
async def test_a_worker_that_can_serve_neither_version_gives_up(
    failures: list[BaseException], wrong: tuple[str, ...]
) -> None:
    bench = Bench(ScriptedEngine(OLD, *failures, wrong=wrong))
    assert (await bench.update()).phase is Phase.FAILED
    assert len(bench.given_up) == 1
    assert not bench.status.admits
    assert bench.count("lost") == 1


async def test_an_engine_that_hangs_in_its_swap_is_given_up() -> None:
    bench = Bench(ScriptedEngine(OLD), replace(LIMITS, swap_s=0.2))
    bench.engine.hang.clear()
    assert "did not replace its weights within 0.2 s" in (await bench.update()).reason
    assert len(bench.given_up) == 1


async def test_requests_that_nobody_can_continue_end_the_update() -> None:
    bench = Bench(ScriptedEngine(OLD))
    bench.status.request_began()
    bench.cannot_continue = 1
    report = await bench.update(finish_s=0.05)
    assert report.reason == "1 requests that no other worker can continue did not finish within 0.05 s"
    assert bench.phases == [Phase.STAGING, Phase.FAILED]
    assert (bench.engine.swaps, bench.serves) == ([], (State.READY, OLD.manifest.version))


async def test_an_order_says_what_happens_to_running_requests() -> None:
    bench = Bench(ScriptedEngine(OLD))
    bench.status.request_began()
    assert (await bench.update(mode=SwapMode.RECOMPUTE)).phase is Phase.COMMITTED
    assert (bench.moved, bench.serves) == ([SwapMode.RECOMPUTE], (State.READY, NEW_VERSION))


async def test_granted_requests_may_start_during_a_hold_but_not_during_a_swap() -> None:
    bench = Bench(ScriptedEngine(OLD))
    bench.status.request_began()
    bench.engine.hang.clear()
    updating = asyncio.create_task(bench.update())
    await wait_until(lambda: bench.status.state is State.SWAPPING, description="it holds")
    assert bench.status.admits
    assert not bench.updates.accept(UpdateOrder("d2", NEW_VERSION))
    bench.status.request_ended()
    await wait_until(lambda: bench.engine.swaps, description="it swaps")
    assert not bench.status.admits
    bench.engine.hang.set()
    assert (await updating).phase is Phase.COMMITTED
    assert bench.status.admits


async def test_an_order_is_carried_out_once_and_not_while_the_worker_is_not_ready() -> None:
    bench = Bench(ScriptedEngine(OLD))
    await bench.update(name="d1")
    assert not bench.updates.accept(UpdateOrder("d1", NEW_VERSION))
    bench.status.enter(State.DRAINING)
    assert not bench.updates.accept(UpdateOrder("d2", NEW_VERSION))


async def test_a_worker_told_to_drain_during_a_hold_drains() -> None:
    bench = Bench(ScriptedEngine(OLD))
    bench.status.request_began()
    updating = asyncio.create_task(bench.update())
    await wait_until(lambda: bench.status.state is State.SWAPPING, description="it holds")
    bench.status.enter(State.DRAINING)
    bench.status.request_ended()
    assert (await updating).reason == "this worker is draining"
    assert (bench.status.state, bench.engine.swaps) == (State.DRAINING, [])


async def test_staging_has_a_limit() -> None:
    bench = Bench(ScriptedEngine(OLD), replace(LIMITS, stage_s=0.2))
    bench.stall = asyncio.Event()
    assert (await bench.update()).reason == "it was not staged within 0.2 s"
    assert bench.serves == (State.READY, OLD.manifest.version)


async def test_an_unexpected_error_ends_the_update_and_the_next_one_is_accepted() -> None:
    bench = Bench(ScriptedEngine(OLD))
    bench.refusal = KeyError("version")
    report = await bench.update()
    assert (report.phase, "KeyError" in report.reason) == (Phase.FAILED, True), report
    assert bench.serves == (State.READY, OLD.manifest.version)
    bench.refusal = None
    assert (await bench.update(name="d2")).phase is Phase.COMMITTED


async def test_an_unexpected_error_in_a_swap_ends_the_worker() -> None:
    bench = Bench(ScriptedEngine(OLD, KeyError("tensor")))
    assert (await bench.update()).phase is Phase.FAILED
    assert len(bench.given_up) == 1


async def test_the_served_and_the_previous_version_stay_on_disk() -> None:
    bench = Bench(ScriptedEngine(OLD))
    await bench.update()
    bench.refusal = RefusedModel("is corrupt")
    await bench.update(OTHER.manifest.version, "d2")
    await bench.update(OTHER.manifest.version, "d3")
    assert bench.in_use == [{"old"}, {"old", "new"}, {"old", "new"}]
