"""The adapters of a worker: which versions it serves now, and their way into the engine.

The worker looks at the registry again and again. A version is downloaded, checked, loaded and proved when a request
first asks for it. When the registry names another version of an adapter that this worker has proved before, the new one
is loaded and proved first, while requests still get the old one; if it fails, the old one goes on. A request keeps its
version to the end, also on another worker: it names the version there.

Adapters belong to one version of the model. A weight update empties the engine of them (`pause`); afterwards those for
the new version are served (`resume`).
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count

from services.shared.adapters import WrongAdapter, check_manifest
from services.shared.clock import Clock
from services.shared.config import Adapters as Config
from services.shared.lifecycle import Tasks
from services.shared.manifests import Manifest
from services.shared.objectstore import StoreError
from services.worker.adapter_report import AdapterReport
from services.worker.adapters.slots import Slot, Slots
from services.worker.adapters.source import AdapterSource, Found
from services.worker.engine.bounded import bounded
from services.worker.engine.contract import Adapter, AdapterRefused, Engine, EngineError, InvalidPrompt
from services.worker.golden import NotProven, prove
from services.worker.metrics import Metrics
from services.worker.status import Status

log = logging.getLogger(__name__)

# The registry is asked for this many adapters a second, at most.
_READS_PER_S = 20
# Characters of a reason. Every heartbeat repeats it.
_MAX_REASON = 300


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds.

    Attributes:
        poll_s: Between two looks at the registry.
        stage_s: To bring an adapter to local disk; None: no limit, as long as the download makes progress.
        load_s: For the engine to load it, and again to prove it.
    """

    poll_s: float
    stage_s: float | None
    load_s: float


@dataclass(slots=True)
class _Served:
    """An adapter that this worker serves.

    Attributes:
        manifest: The version that new requests get.
        proved: The engine has answered as the version should.
    """

    manifest: Manifest
    proved: bool = False


class Adapters:
    """All adapters of one worker."""

    def __init__(
        self,
        config: Config,
        source: AdapterSource,
        engine: Engine,
        status: Status,
        *,
        limits: Limits,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        """Prepares; nothing is served before `begin`."""
        self._source, self._engine, self._status = source, engine, status
        self._limits, self._metrics, self._clock = limits, metrics, clock
        self._slots = Slots(config.max_loaded, self._load, self._unload, self._report)
        self._base: Manifest | None = None
        self._found: dict[str, Found] = {}
        self._served: dict[str, _Served] = {}
        self._refused: dict[str, str] = {}
        # Why versions failed in this engine; they are not tried again.
        self._failed: dict[str, str] = {}
        self._switching: set[str] = set()
        self._tasks = Tasks()
        self._numbers = count(1)
        # The engine loads one adapter at a time, and none while its weights change.
        self._engine_lock = asyncio.Lock()

    async def begin(self, base: Manifest) -> None:
        """Says which model version the engine runs, looks at the registry once, and then again and again."""
        self._base = base
        await self.refresh()
        self._tasks.start(self._poll(), "adapters")

    async def stop(self) -> None:
        """Ends the background work."""
        await self._tasks.stop()
        await self._slots.stop()
        for adapter in self._slots.drop():
            self._source.release(adapter.folder)

    async def refresh(self) -> None:
        """Looks at the registry. While the object store fails, all stays as it was."""
        try:
            self._found = await self._source.read()
        except StoreError as error:
            log.warning("adapters: the object store failed: %s", error)
            return
        self._follow_all()

    def serves(self, name: str) -> bool:
        """Whether a request for this adapter may come."""
        return name in self._served

    def refusal(self, name: str) -> str | None:
        """Why an adapter that the pool names is not served, or None."""
        return None if name in self._served else self._refused.get(name)

    @asynccontextmanager
    async def use(self, name: str, version: str = "") -> AsyncIterator[Adapter]:
        """Gives an adapter to a request; it stays in the engine until the block ends.

        Args:
            name: The adapter.
            version: The version that the request has begun with; empty: the one that is served now.

        Raises:
            InvalidPrompt: This adapter cannot be served.
            EngineError: It cannot be loaded now.
        """
        try:
            slot = await self._acquire(name, version)
        except WrongAdapter as error:
            raise InvalidPrompt(f"The adapter '{name}' cannot be served: {error}", "model") from None
        except (StoreError, OSError) as error:
            raise EngineError(f"adapter {name}: {error}") from None
        try:
            yield slot.adapter
        finally:
            self._slots.release(slot)

    async def pause(self) -> None:
        """Waits until nothing is loaded, then removes all adapters from the engine. Raises EngineDead."""
        await self._engine_lock.acquire()
        for adapter in self._slots.drop():
            self._source.release(adapter.folder)
            await self._engine.remove_adapter(adapter)

    def resume(self, base: Manifest) -> None:
        """Serves adapters again, those for the model version that the engine runs now."""
        self._base = base
        self._served.clear()
        self._refused.clear()
        self._failed.clear()
        if self._engine_lock.locked():
            self._engine_lock.release()
        self._follow_all()

    # ---- which versions ----

    async def _poll(self) -> None:
        while True:
            await self._clock.sleep(max(self._limits.poll_s, len(self._found) / _READS_PER_S))
            await self.refresh()

    def _follow_all(self) -> None:
        for name in (self._served.keys() | self._refused.keys()) - self._found.keys():
            self._served.pop(name, None)
            self._refused.pop(name, None)
        for name, found in self._found.items():
            self._follow(name, found)
        self._report()

    def _follow(self, name: str, found: Found) -> None:
        """Takes over what the registry has of one adapter. A version that was proved stays if the new one is wrong."""
        served = self._served.get(name)
        try:
            manifest = self._check(found)
        except WrongAdapter as error:
            reason = str(error)
            if served and served.proved:
                reason += f"; {served.manifest.version[:12]} goes on"
            else:
                self._served.pop(name, None)
            self._refuse(name, reason)
            return
        self._refused.pop(name, None)
        if served and served.manifest.version == manifest.version:
            return
        if served is None or not served.proved:
            self._served[name] = _Served(manifest)
        elif name not in self._switching:
            self._switching.add(name)
            self._tasks.start(self._switch(name, manifest), f"adapter-{name}")

    def _check(self, found: Found) -> Manifest:
        """Returns the manifest of an adapter that this engine can serve, as far as is known. Raises WrongAdapter."""
        if isinstance(found, WrongAdapter):
            raise found
        manifest = found
        if self._base is None:
            raise WrongAdapter("the engine has not started")
        check_manifest(manifest, self._base)
        if failed := self._failed.get(manifest.version):
            raise WrongAdapter(failed)
        return manifest

    def _refuse(self, name: str, reason: str) -> None:
        reason = reason[:_MAX_REASON]
        if self._refused.get(name) != reason:
            log.error("adapter %s: %s", name, reason)
        self._refused[name] = reason

    async def _switch(self, name: str, manifest: Manifest) -> None:
        """Loads and proves another version, then gives it to new requests."""
        try:
            slot = await self._slots.acquire(manifest)
        except WrongAdapter:
            self._follow_all()
        except (EngineError, StoreError, OSError) as error:
            log.warning("adapter %s: %s was not loaded and is tried again: %s", name, manifest.version[:12], error)
        else:
            self._slots.release(slot)
            # Not if the weights have changed meanwhile, or the registry no longer names the adapter.
            if name in self._served and slot in self._slots:
                log.info("adapter %s: from now on %s", name, manifest.version)
                self._served[name] = _Served(manifest, proved=True)
                self._report()
        finally:
            self._switching.discard(name)

    # ---- into the engine ----

    async def _acquire(self, name: str, version: str) -> Slot:
        """Raises WrongAdapter, StoreError, OSError, EngineError."""
        served = self._served.get(name)
        if version and (served is None or served.manifest.version != version):
            manifest = await self._source.manifest(name, version)
            self._check(manifest)
            return await self._slots.acquire(manifest)
        if served is None:
            raise WrongAdapter(self._refused.get(name, "this worker does not have it"))
        try:
            slot = await self._slots.acquire(served.manifest)
        except WrongAdapter:
            self._follow_all()
            raise
        served.proved = True
        return slot

    async def _load(self, manifest: Manifest) -> Adapter:
        """Downloads, loads and proves a version. Raises WrongAdapter, StoreError, OSError, EngineError."""
        try:
            async with asyncio.timeout(self._limits.stage_s):
                folder = await self._source.fetch(manifest)
            async with self._engine_lock:
                # The weights may have changed while the files came.
                self._check(manifest)
                adapter = Adapter(manifest.model, manifest.version, folder, next(self._numbers))
                try:
                    await self._add(adapter, manifest)
                except BaseException:
                    self._source.release(folder)
                    raise
        except TimeoutError:
            self._metrics.adapter_loads.labels("failed").inc()
            raise StoreError(f"it was not staged within {self._limits.stage_s or 0:g} s") from None
        except (StoreError, OSError, EngineError):
            self._metrics.adapter_loads.labels("failed").inc()
            raise
        except WrongAdapter as error:
            self._metrics.adapter_loads.labels("refused").inc()
            self._failed[manifest.version] = str(error)
            raise
        self._metrics.adapter_loads.labels("loaded").inc()
        log.info("adapter %s: loaded %s", manifest.model, manifest.version)
        return adapter

    async def _add(self, adapter: Adapter, manifest: Manifest) -> None:
        """Raises WrongAdapter when the engine refuses it or answers otherwise than it should; EngineDead."""
        try:
            await bounded(self._engine.add_adapter(adapter), "load an adapter", self._limits.load_s)
            name = f"adapter-{adapter.number}"
            proof = prove(self._engine, manifest, name, adapter)
            await bounded(proof, "answer the golden prompts of an adapter", self._limits.load_s)
        except AdapterRefused as error:
            raise WrongAdapter(str(error)) from None
        except NotProven as error:
            await self._engine.remove_adapter(adapter)
            raise WrongAdapter(f"it does not run as it was published: {error}") from None

    async def _unload(self, adapter: Adapter) -> None:
        """Raises EngineDead."""
        async with self._engine_lock:
            await self._engine.remove_adapter(adapter)
        self._source.release(adapter.folder)
        self._metrics.adapter_evictions.inc()
        log.info("adapter %s: evicted %s", adapter.name, adapter.version)

    def _report(self) -> None:
        loaded: dict[str, str] = {}
        for adapter in self._slots.loaded:
            served = self._served.get(adapter.name)
            if served and served.manifest.version == adapter.version:
                loaded[adapter.name] = adapter.version
        names = tuple(sorted(self._served))
        self._status.report_adapters(AdapterReport(names, loaded, dict(self._refused)))
