"""A weight update: the worker changes to another version of its model, or keeps the old one.

stage  The worker downloads and verifies the version, and goes on serving.
hold   The router grants nothing more, until no request runs. Long answers go on elsewhere (hold.py).
swap   The engine replaces its weights; nothing runs.
prove  The engine must answer the golden prompts exactly.

Then the worker commits. If a step fails, it puts the old weights back, proves them, and goes on serving.

Some versions cannot come in place: the worker stages such a version and says that it needs a restart. The router then
drains it, and its next process starts on the version.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from services.shared.clock import Clock
from services.shared.manifests import Manifest, WrongManifest
from services.shared.objectstore import StoreError
from services.shared.registry import UnknownVersion
from services.shared.staging import RefusedModel
from services.shared.swap_mode import SwapMode
from services.worker.engine.bounded import bounded
from services.worker.engine.contract import Drafter, Engine, EngineDead, Model, SwapFailed
from services.worker.golden import NotProven, prove
from services.worker.hold import Bounds, Hold, Running, UpdateRefused
from services.worker.metrics import Metrics
from services.worker.status import State, Status
from services.worker.update_trace import UpdateTrace
from services.worker.weight_update_report import Outcome, Phase, Report

log = logging.getLogger(__name__)

# Characters of the reason. Every heartbeat repeats it.
_MAX_REASON = 1_000


@dataclass(frozen=True, slots=True)
class UpdateOrder:
    """A router's order to change to another version.

    Attributes:
        update_id: Names the order; the router repeats an order under the same id.
        version: SHA-256 of the manifest.
        finish_s: Seconds that requests get to finish which no other worker can continue; None means the worker's own
            setting.
        mode: What happens to requests that run; None means the pool's setting.
        refusal: Why this worker cannot carry it out, whatever its state; "" if it can.
        speculator: The version is one of the pool's speculator (speculator_update.py).
    """

    update_id: str
    version: str
    finish_s: float | None = None
    mode: SwapMode | None = None
    refusal: str = ""
    speculator: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """Time limits of a weight update, in seconds.

    Attributes:
        stage_s: To bring a version to local disk; None: no limit, as long as the download makes progress.
        hold: For running requests, unless the order says otherwise.
        swap_s: For the engine to replace its weights, and again to prove them.
    """

    stage_s: float | None
    hold: Bounds
    swap_s: float


class NeedsRestart(Exception):
    """The version is on local disk, but the engine cannot change to it in place; it has changed nothing."""


class AdapterGate(Protocol):
    """The adapters of the engine, which belong to one version of the model."""

    async def pause(self) -> None:
        """Removes all adapters from the engine and lets none in. Raises EngineDead."""
        ...

    def resume(self, base: Manifest) -> None:
        """Lets adapters in again, those for the version that the engine runs now."""
        ...


class WeightUpdates:
    """Carries out the weight updates of one worker, one at a time."""

    def __init__(
        self,
        engine: Engine,
        status: Status,
        running: Running,
        fetch: Callable[[str, Collection[Path]], Awaitable[Model]],
        give_up: Callable[[str], None],
        *,
        limits: Limits,
        metrics: Metrics,
        clock: Clock,
        adapters: AdapterGate | None = None,
        trace: UpdateTrace | None = None,
        check_drafter: Callable[[Manifest, Manifest], None] | None = None,
    ) -> None:
        """Prepares for updates; none is accepted before `begin`.

        Args:
            engine: The engine whose weights change.
            status: Where the progress is reported.
            running: The requests of the worker.
            fetch: Brings a version to local disk and keeps the given folders there.
            give_up: Called with the reason when the engine is lost during an update.
            limits: Time limits.
            metrics: Where updates are counted.
            clock: For the durations.
            adapters: The adapters that leave the engine before its weights change; None: the pool has none.
            trace: Follows the updates; None: they are not traced.
            check_drafter: Takes the speculator and the new version; raises RefusedModel when they do not go together.
        """
        self._engine, self._status, self._running = engine, status, running
        self._fetch, self._give_up = fetch, give_up
        self._limits, self._metrics, self._clock, self._adapters = limits, metrics, clock, adapters
        self._trace, self._check_drafter = trace, check_drafter
        self._serving: Model | None = None
        self._previous: Model | None = None

    def start_on(self, order: UpdateOrder) -> None:
        """Reports that this process starts on the version that its predecessor could not change to in place."""
        self._report(order, Phase.STAGING)

    def fail_to_start(self, order: UpdateOrder, reason: str) -> None:
        """Reports that this process could not start on the version, and ends."""
        self._end(order, Phase.FAILED, "lost", reason)

    def begin(self, model: Model, order: UpdateOrder | None = None) -> None:
        """Says that the engine runs `model`; from now on orders can be accepted.

        Args:
            model: The model.
            order: The order that this start has carried out, if there was one.
        """
        self._serving = model
        if order:
            self._end(order, Phase.COMMITTED, "committed")

    def accept(self, order: UpdateOrder) -> bool:
        """Returns whether the caller should carry out the order now.

        A known order, or an order during another update, is ignored: the router repeats its orders.
        """
        last = self._status.weight_update
        if last is not None and last.update_id == order.update_id:
            return False
        if self._status.is_updating:
            return False
        if self._serving is None or self._status.state is not State.READY:
            return False
        if order.refusal:
            self._end(order, Phase.FAILED, "refused", order.refusal)
            return False
        self._report(order, Phase.STAGING)
        return True

    async def run(self, order: UpdateOrder) -> None:
        """Carries out an order. Afterwards the worker serves the new or the old version, or it has given up."""
        if (old := self._serving) is None:
            raise RuntimeError("nothing is served yet")
        if old.manifest.version == order.version:
            self._end(order, Phase.COMMITTED, "unchanged")
            return
        try:
            model = await self._stage(order, old)
            await self._hold(order)
        except NeedsRestart as error:
            self._end(order, Phase.NEEDS_RESTART, "restart", str(error))
            return
        except Exception as error:  # noqa: BLE001 -- nothing has changed yet, and the router gets the reason
            self._status.reopen()
            self._end(order, Phase.FAILED, "refused", _describe(error))
            return
        sealed_at = self._clock.monotonic()
        try:
            await self._change(order, old, model)
        except Exception as error:  # noqa: BLE001 -- nobody knows what the engine would answer now
            self._end(order, Phase.FAILED, "lost", f"the engine was lost: {_describe(error)}")
            self._give_up(f"weight update to {order.version}: {_describe(error)}")
            return
        self._metrics.gap.observe(self._clock.monotonic() - sealed_at)

    async def _change(self, order: UpdateOrder, old: Model, new: Model) -> None:
        """Loads the new weights, or the old ones again. Raises EngineDead."""
        if self._adapters:
            await self._adapters.pause()
        try:
            await self._load(order, new, Phase.SWAPPING)
        except (SwapFailed, NotProven) as error:
            reason = str(error)
            if isinstance(error, SwapFailed) and error.intact:
                self._reopen(old)
                self._end(order, Phase.NEEDS_RESTART, "restart", reason)
                return
            log.error("weight update to %s failed: %s; going back to %s", order.version, reason, old.manifest.version)
            await self._restore(order, old)
            self._reopen(old)
            self._end(order, Phase.FAILED, "restored", reason)
        else:
            self._serving, self._previous = new, old
            self._reopen(new)
            self._end(order, Phase.COMMITTED, "committed")

    async def _stage(self, order: UpdateOrder, old: Model) -> Model:
        """Brings the version to local disk and checks that it fits. Raises UpdateRefused, NeedsRestart."""
        try:
            async with asyncio.timeout(self._limits.stage_s):
                model = await self._fetch(order.version, self.in_use())
        except (RefusedModel, WrongManifest, UnknownVersion, StoreError) as error:
            raise UpdateRefused(str(error)) from error
        except TimeoutError:
            raise UpdateRefused(f"it was not staged within {self._limits.stage_s or 0:g} s") from None
        except OSError as error:
            raise UpdateRefused(f"the version cannot be kept on this machine: {error}") from error
        # An update does not change the speculator, which must fit the new version too.
        model = Model(model.folder, model.manifest, old.draft)
        try:
            if old.draft and self._check_drafter:
                self._check_drafter(old.draft.manifest, model.manifest)
            await self._engine.check_swap(model)
        except RefusedModel as error:
            raise UpdateRefused(str(error)) from None
        except SwapFailed as error:
            raise NeedsRestart(str(error)) from None
        return model

    @property
    def serving(self) -> Model | None:
        """What the engine runs; None before `begin`."""
        return self._serving

    def drafts_with(self, drafter: Drafter) -> None:
        """The engine has another speculator now."""
        if self._serving:
            self._serving = replace(self._serving, draft=drafter)

    def in_use(self) -> set[Path]:
        """Folders of the served and of the previous version: an operator may want to go back."""
        models = [model for model in (self._serving, self._previous) if model]
        drafters = [model.draft for model in models if model.draft]
        return {model.folder for model in models} | {drafter.folder for drafter in drafters}

    async def _hold(self, order: UpdateOrder) -> None:
        """Returns once no request runs; from then on none can start. Raises UpdateRefused."""
        bounds = self._limits.hold
        bounds = replace(
            bounds,
            mode=order.mode or bounds.mode,
            finish_s=bounds.finish_s if order.finish_s is None else order.finish_s,
        )
        await Hold(self._status, self._running, lambda: self._report(order, Phase.HOLDING), bounds, self._clock).empty()

    async def _load(self, order: UpdateOrder, model: Model, phase: Phase) -> None:
        """Swaps to the weights and proves them. Raises SwapFailed, NotProven, EngineDead."""
        self._report(order, phase)
        began = self._clock.monotonic()
        # What the new weights have computed until then is not of the version that they were to be.
        swap = self._engine.swap(model, forget=phase is Phase.RESTORING)
        await bounded(swap, "replace its weights", self._limits.swap_s)
        self._metrics.swaps.observe(self._clock.monotonic() - began)
        if phase is Phase.SWAPPING:
            self._report(order, Phase.PROVING)
        proof = prove(self._engine, model.manifest, order.update_id)
        self._status.golden_proved = await bounded(proof, "answer its golden prompts", self._limits.swap_s)

    async def _restore(self, order: UpdateOrder, old: Model) -> None:
        """Loads the old weights again. Raises EngineDead when even they do not work any more."""
        try:
            await self._load(order, old, Phase.RESTORING)
        except (SwapFailed, NotProven) as error:
            raise EngineDead(f"the old weights could not be put back: {error}") from error

    def _reopen(self, model: Model) -> None:
        self._status.loaded(self._engine.info)
        if self._adapters:
            self._adapters.resume(model.manifest)
        self._status.reopen()

    def _end(self, order: UpdateOrder, phase: Phase, outcome: Outcome, reason: str = "") -> None:
        self._metrics.weight_updates.labels(outcome).inc()
        self._report(order, phase, reason)

    def _report(self, order: UpdateOrder, phase: Phase, reason: str = "") -> None:
        log.info("weight update to %s: %s %s", order.version, phase.name.lower(), reason)
        if self._trace:
            self._trace.enter(order.version, phase, reason)
        self._status.report_update(Report(order.update_id, order.version, phase, reason[:_MAX_REASON]))


def _describe(error: Exception) -> str:
    """The reason that operators read. An unexpected error is also logged with its traceback."""
    if isinstance(error, (UpdateRefused, EngineDead)):
        return str(error)
    log.error("a weight update failed unexpectedly", exc_info=error)
    return repr(error)
