"""An update of the speculator: the worker drafts with another version of it, and its model stays.

stage  The worker downloads and verifies the version, and goes on serving.
swap   The engine replaces the speculator between two steps. Requests that run wait meanwhile, and go on.
prove  The engine must answer the golden prompts of the *model* exactly: a speculator changes no text.

Then the worker commits. If a step fails, it puts the old speculator back, proves it, and goes on. What cannot come in
place needs a restart, as with the model's weights (weight_update.py).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

from services.shared.clock import Clock
from services.shared.manifests import Manifest, WrongManifest
from services.shared.objectstore import StoreError
from services.shared.registry import UnknownVersion
from services.shared.staging import RefusedModel
from services.worker.engine.bounded import bounded
from services.worker.engine.contract import Drafter, Engine, EngineDead, Model, SwapFailed
from services.worker.golden import NotProven, prove
from services.worker.metrics import Metrics
from services.worker.status import State, Status
from services.worker.weight_update import Limits, UpdateOrder, WeightUpdates
from services.worker.weight_update_report import Outcome, Phase, Report

log = logging.getLogger(__name__)

# Characters of the reason. Every heartbeat repeats it.
_MAX_REASON = 1_000

Fetch = Callable[[str, Manifest, Collection[Path]], Awaitable[Drafter]]
"""Brings a version of the speculator to local disk: takes it, the model's manifest, and folders that must stay there.

Raises RefusedModel, WrongManifest, UnknownVersion, StoreError, OSError.
"""


class SpeculatorUpdates:
    """Carries out the updates of one worker's speculator, one at a time."""

    def __init__(
        self,
        engine: Engine,
        status: Status,
        updates: WeightUpdates,
        fetch: Fetch,
        give_up: Callable[[str], None],
        *,
        limits: Limits,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        """Prepares for updates.

        Args:
            engine: The engine whose speculator changes.
            status: Where the progress is reported.
            updates: Knows what the engine runs.
            fetch: Brings a version to local disk.
            give_up: Called with the reason when the engine is lost during an update.
            limits: Time limits.
            metrics: Where updates are counted.
            clock: For the durations.
        """
        self._engine, self._status, self._updates = engine, status, updates
        self._fetch, self._give_up = fetch, give_up
        self._limits, self._metrics, self._clock = limits, metrics, clock

    def start_on(self, order: UpdateOrder) -> None:
        """Reports that this process starts with the version that its predecessor could not change to in place."""
        self._report(order, Phase.STAGING)

    def started_on(self, order: UpdateOrder) -> None:
        """Reports that this process has started with the version, as an order said."""
        self._end(order, Phase.COMMITTED, "committed")

    def fail_to_start(self, order: UpdateOrder, reason: str) -> None:
        """Reports that this process could not start with the version, and ends."""
        self._end(order, Phase.FAILED, "lost", reason)

    def accept(self, order: UpdateOrder) -> bool:
        """Returns whether the caller should carry out the order now; the router repeats its orders."""
        last = self._status.speculator_update
        if (last is not None and last.update_id == order.update_id) or self._status.is_updating:
            return False
        if self._updates.serving is None or self._status.state is not State.READY:
            return False
        self._report(order, Phase.STAGING)
        return True

    async def run(self, order: UpdateOrder) -> None:
        """Carries out an order. Afterwards the worker drafts with the new or the old version, or it has given up."""
        if (model := self._updates.serving) is None:
            raise RuntimeError("nothing is served yet")
        if (old := model.draft) is None:
            self._end(order, Phase.FAILED, "refused", "this worker was started without a speculator of the registry")
            return
        if old.manifest.version == order.version:
            self._end(order, Phase.COMMITTED, "unchanged")
            return
        try:
            new = await self._stage(order, model)
        except SwapFailed as error:
            self._end(order, Phase.NEEDS_RESTART, "restart", str(error))
            return
        except Exception as error:  # noqa: BLE001 -- nothing has changed yet, and the router gets the reason
            self._end(order, Phase.FAILED, "refused", self._why(error))
            return
        try:
            await self._change(order, model, old, new)
        except Exception as error:  # noqa: BLE001 -- nobody knows what the engine would do now
            self._end(order, Phase.FAILED, "lost", f"the engine was lost: {self._why(error)}")
            self._give_up(f"speculator {order.version}: {self._why(error)}")

    async def _stage(self, order: UpdateOrder, model: Model) -> Drafter:
        async with asyncio.timeout(self._limits.stage_s):
            new = await self._fetch(order.version, model.manifest, self._updates.in_use())
        await self._engine.check_draft_swap(new)
        return new

    async def _change(self, order: UpdateOrder, model: Model, old: Drafter, new: Drafter) -> None:
        """Drafts with the new version, or with the old one again. Raises EngineDead."""
        try:
            await self._swap(order, model, new, Phase.SWAPPING)
        except (SwapFailed, NotProven) as error:
            if isinstance(error, SwapFailed) and error.intact:
                self._end(order, Phase.NEEDS_RESTART, "restart", str(error))
                return
            log.error("speculator %s failed: %s; going back to %s", order.version, error, old.manifest.version)
            try:
                await self._swap(order, model, old, Phase.RESTORING)
            except (SwapFailed, NotProven) as worse:
                raise EngineDead(f"the old speculator could not be put back: {worse}") from worse
            self._end(order, Phase.FAILED, "restored", str(error))
        else:
            self._updates.drafts_with(new)
            self._end(order, Phase.COMMITTED, "committed")

    async def _swap(self, order: UpdateOrder, model: Model, drafter: Drafter, phase: Phase) -> None:
        """Swaps to a speculator and proves the model with it. Raises SwapFailed, NotProven, EngineDead."""
        self._report(order, phase)
        began = self._clock.monotonic()
        await bounded(self._engine.swap_draft(drafter), "replace its speculator", self._limits.swap_s)
        self._metrics.draft_swaps.observe(self._clock.monotonic() - began)
        self._status.loaded(self._engine.info)
        if phase is Phase.SWAPPING:
            self._report(order, Phase.PROVING)
        proof = prove(self._engine, model.manifest, order.update_id)
        await bounded(proof, "answer its golden prompts", self._limits.swap_s)

    def _why(self, error: Exception) -> str:
        match error:
            case RefusedModel() | WrongManifest() | UnknownVersion() | StoreError() | EngineDead():
                return str(error)
            case TimeoutError():
                return f"it was not staged within {self._limits.stage_s or 0:g} s"
            case OSError():
                return f"the version cannot be kept on this machine: {error}"
        log.error("an update of the speculator failed unexpectedly", exc_info=error)
        return repr(error)

    def _end(self, order: UpdateOrder, phase: Phase, outcome: Outcome, reason: str = "") -> None:
        self._metrics.speculator_updates.labels(outcome).inc()
        self._report(order, phase, reason)

    def _report(self, order: UpdateOrder, phase: Phase, reason: str = "") -> None:
        log.info("speculator %s: %s %s", order.version, phase.name.lower(), reason)
        self._status.report_speculator_update(Report(order.update_id, order.version, phase, reason[:_MAX_REASON]))
