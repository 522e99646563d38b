"""The warm standby: a version that is on the disk ahead of its rollout, so that the rollout has only to load it.

The worker serves meanwhile. It keeps one such version at most, until its next weight update has ended or another
version is staged.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from services.shared.manifests import WrongManifest
from services.shared.objectstore import StoreError
from services.shared.registry import UnknownVersion
from services.shared.staging import RefusedModel, Watcher
from services.worker.engine.contract import Drafter, EngineDead, Model
from services.worker.standby_report import StandbyPhase, StandbyReport
from services.worker.status import State, Status
from services.worker.weight_update_report import Phase

log = logging.getLogger(__name__)

# Characters of the reason. Every heartbeat repeats it.
_MAX_REASON = 1_000


@dataclass(frozen=True, slots=True)
class StageOrder:
    """A router's order to bring a version to the disk.

    Attributes:
        stage_id: Names the order; the router repeats an order under the same id.
        version: SHA-256 of the manifest.
        speculator: The version is one of the pool's speculator.
    """

    stage_id: str
    version: str
    speculator: bool = False


class Fetch(Protocol):
    """Brings a version to the disk of every node."""

    async def __call__(self, version: str, in_use: Collection[Path], watcher: Watcher | None = None) -> Model | Drafter:
        """`in_use`: folders that must stay. Raises RefusedModel, WrongManifest, UnknownVersion, StoreError, OSError."""
        ...


class Standby:
    """Stages versions ahead of their rollouts, one at a time."""

    def __init__(
        self,
        status: Status,
        cache: Path,
        fetch: Fetch,
        in_use: Callable[[], Collection[Path]],
        keep: Callable[[Collection[Path]], None],
        *,
        limit_s: float | None,
        fetch_drafter: Fetch | None = None,
    ) -> None:
        """Prepares; nothing is fetched before an order.

        Args:
            status: Where the progress is reported.
            cache: The folder of staged versions.
            fetch: Brings a version to local disk.
            in_use: The folders of what is served, and was served before.
            keep: Unlocks all folders of the cache except the given ones.
            limit_s: Seconds that staging may take; None: as long as bytes arrive.
            fetch_drafter: Brings a version of the speculator to local disk; default: as one of the model.
        """
        self._fetch_drafter = fetch_drafter or fetch
        self._status, self._cache, self._fetch = status, cache, fetch
        self._in_use, self._keep, self._limit_s = in_use, keep, limit_s
        self._folder: Path | None = None

    @property
    def folders(self) -> set[Path]:
        """The folder of the version that is staged ahead, or is being staged."""
        return {self._folder} if self._folder else set()

    def accept(self, order: StageOrder) -> bool:
        """Returns whether the caller should carry out the order now.

        A known order, and one that comes while another one or a weight update is under way, is ignored: the router
        repeats its orders.
        """
        last = self._status.standby
        if last and (last.stage_id == order.stage_id or last.phase is StandbyPhase.FETCHING):
            return False
        if self._status.state is not State.READY or self._status.is_updating:
            return False
        # The former version is unlocked when this one is fetched, so that the disk has room for it.
        self._folder = self._cache / order.version
        self._report(StandbyReport(order.stage_id, order.version))
        return True

    async def run(self, order: StageOrder) -> None:
        """Carries out an order. A version that cannot be staged changes nothing else."""
        try:
            async with asyncio.timeout(self._limit_s):
                fetch = self._fetch_drafter if order.speculator else self._fetch
                await fetch(order.version, self._in_use(), self._watch)
        except Exception as error:  # noqa: BLE001 -- the worker serves on, and the router gets the reason
            self._folder = None
            self._end(order, StandbyPhase.FAILED, self._why(error))
        else:
            self._end(order, StandbyPhase.STAGED)

    def rolled(self) -> None:
        """A weight update has ended: what was staged ahead is not kept any more.

        A worker that needs a restart keeps it until its process ends.
        """
        last = self._status.standby
        updates = (self._status.weight_update, self._status.speculator_update)
        if any(update and update.phase is Phase.NEEDS_RESTART for update in updates):
            return
        if last and last.phase is not StandbyPhase.FETCHING:
            self._folder = None
            self._status.report_standby(None)
            self._keep(self._in_use())

    def _watch(self, done: int, total: int) -> None:
        if last := self._status.standby:
            self._report(replace(last, staged_bytes=min(done, total), total_bytes=total))

    def _why(self, error: Exception) -> str:
        match error:
            case RefusedModel() | WrongManifest() | UnknownVersion() | StoreError() | EngineDead():
                return str(error)
            case TimeoutError():
                return f"it was not staged within {self._limit_s or 0:g} s"
            case OSError():
                return f"the version cannot be kept on this machine: {error}"
        log.error("staging failed unexpectedly", exc_info=error)
        return repr(error)

    def _end(self, order: StageOrder, phase: StandbyPhase, reason: str = "") -> None:
        log.info("version %s ahead of its rollout: %s %s", order.version, phase.name.lower(), reason)
        last = self._status.standby or StandbyReport(order.stage_id, order.version)
        self._report(replace(last, phase=phase, reason=reason[:_MAX_REASON]))

    def _report(self, report: StandbyReport) -> None:
        self._status.report_standby(report)
