"""The adapters in an engine's memory: as many as it has room for, loaded when asked for, the oldest unused one evicted.

An adapter stays while a request uses it. When all are in use and another one is asked for, the one with the fewest
requests takes no more of them until it has made room. So no adapter waits for ever behind busy ones. Requests that make
room do so one after the other, in the order in which they came.
"""

import asyncio
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any

from services.shared.lifecycle import unbroken
from services.shared.manifests import Manifest
from services.worker.engine.contract import Adapter


class Slot:
    """One place in the engine.

    Attributes:
        users: Requests that use the adapter, or wait until it is loaded.
        used_at: Grows with every use.
        closing: It takes no more requests, because another adapter needs its place.
    """

    def __init__(self, version: str, loading: "asyncio.Task[Adapter]") -> None:
        self.version, self.loading = version, loading
        self.users, self.used_at, self.closing = 0, 0, False

    @property
    def is_loaded(self) -> bool:
        """Whether the engine has the adapter."""
        return self.loading.done() and not self.loading.cancelled() and self.loading.exception() is None

    @property
    def adapter(self) -> Adapter:
        """The adapter, once it is loaded."""
        return self.loading.result()


class Slots:
    """All places of one engine."""

    def __init__(
        self,
        size: int,
        load: Callable[[Manifest], Coroutine[Any, Any, Adapter]],
        unload: Callable[[Adapter], Coroutine[Any, Any, None]],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """Begins empty.

        Args:
            size: Adapters that the engine has room for.
            load: Loads a version into the engine; what it raises reaches everyone who waits for it.
            unload: Removes an adapter from the engine.
            changed: Called when an adapter was loaded or evicted.
        """
        self._size, self._load, self._unload, self._changed = size, load, unload, changed
        self._slots: dict[str, Slot] = {}
        self._making_room = asyncio.Lock()
        self._freed = asyncio.Event()
        self._uses = count(1)

    @property
    def loaded(self) -> list[Adapter]:
        """The adapters that the engine has now."""
        return [slot.adapter for slot in self._slots.values() if slot.is_loaded]

    async def acquire(self, manifest: Manifest) -> Slot:
        """Returns the place of a version once it is loaded; it stays until `release`. Raises what `load` raises."""
        slot = self._open(manifest.version)
        if slot is None:
            async with self._making_room:
                slot = self._open(manifest.version) or await self._place(manifest)
                self._take(slot)
        else:
            self._take(slot)
        try:
            await asyncio.shield(slot.loading)
        except BaseException:
            self.release(slot)
            raise
        return slot

    def __contains__(self, slot: Slot) -> bool:
        return self._slots.get(slot.version) is slot

    def release(self, slot: Slot) -> None:
        """Ends one use."""
        slot.users -= 1
        self._freed.set()

    def drop(self) -> list[Adapter]:
        """Empties the places that are loaded, and returns what the caller has to remove from the engine."""
        dropped = [slot for slot in self._slots.values() if slot.is_loaded]
        for slot in dropped:
            del self._slots[slot.version]
        self._freed.set()
        return [slot.adapter for slot in dropped]

    async def stop(self) -> None:
        """Gives up what is being loaded."""
        loading = [slot.loading for slot in self._slots.values()]
        for task in loading:
            task.cancel()
        await asyncio.gather(*loading, return_exceptions=True)

    def _open(self, version: str) -> Slot | None:
        slot = self._slots.get(version)
        return None if slot is None or slot.closing else slot

    def _take(self, slot: Slot) -> None:
        slot.users += 1
        slot.used_at = next(self._uses)

    async def _place(self, manifest: Manifest) -> Slot:
        while len(self._slots) >= self._size:
            if idle := self._oldest_idle():
                await self._evict(idle)
                continue
            # The fewest users only get fewer, so this ends, whichever place becomes free first.
            busy = min(self._slots.values(), key=lambda slot: (slot.users, slot.used_at))
            busy.closing = True
            self._freed.clear()
            try:
                await self._freed.wait()
            finally:
                busy.closing = False
        loading = asyncio.create_task(self._load(manifest), name=f"adapter-{manifest.model}")
        slot = self._slots[manifest.version] = Slot(manifest.version, loading)
        loading.add_done_callback(lambda _: self._loading_ended(slot))
        return slot

    def _loading_ended(self, slot: Slot) -> None:
        if not slot.is_loaded and self._slots.get(slot.version) is slot:
            del self._slots[slot.version]
        self._freed.set()
        self._changed()

    def _oldest_idle(self) -> Slot | None:
        idle = (slot for slot in self._slots.values() if not slot.users and slot.is_loaded)
        return min(idle, key=lambda slot: slot.used_at, default=None)

    async def _evict(self, slot: Slot) -> None:
        """A client that leaves meanwhile does not stop it half-way."""
        del self._slots[slot.version]
        await unbroken(self._unload(slot.adapter))
        self._changed()
