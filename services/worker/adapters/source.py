"""Adapters of a pool in the registry: which there are, and their files on local disk."""

import asyncio
import logging
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from random import Random

from services.shared.adapters import WrongAdapter, check_rank, read_rank
from services.shared.backoff import backoff
from services.shared.clock import Clock
from services.shared.config import Adapters
from services.shared.manifests import Manifest, WrongManifest
from services.shared.objectstore import StoreError
from services.shared.registry import Reference, Registry, UnknownVersion
from services.shared.signing import TrustedKeys, Untrusted
from services.shared.staging import RefusedModel, Stager
from services.shared.transfer import Stalled
from services.worker.model_cache import ModelCache, staged

log = logging.getLogger(__name__)

MAX_ADAPTERS = 1024
"""Of one pool: every heartbeat names them."""
_READS = 16
_TRIES = 5

# What the registry has of an adapter: its manifest, or why it cannot be served.
Found = Manifest | WrongAdapter


class AdapterSource:
    """Reads the adapters of one pool from the registry."""

    def __init__(
        self,
        settings: Adapters,
        registry: Registry,
        stager: Stager,
        cache: ModelCache,
        trusted: TrustedKeys,
        *,
        clock: Clock,
        random: Random,
    ) -> None:
        self._settings, self._registry, self._trusted = settings, registry, trusted
        self._stager, self._cache = stager, cache
        self._clock, self._random = clock, random
        # A version never changes, so its manifest is read once.
        self._known: dict[str, Manifest] = {}
        self._missing: set[Reference] = set()

    async def read(self) -> dict[str, Found]:
        """Returns the adapters that the pool's settings name and the registry has, with their versions of now.

        Raises:
            StoreError: The object store failed.
        """
        references = await self._references()
        reading = asyncio.Semaphore(_READS)
        found = await asyncio.gather(*(self._found(reference, reading) for reference in references))
        self._known = {item.version: item for item in found if isinstance(item, Manifest)}
        self._note_missing({reference for reference, item in zip(references, found, strict=True) if item is None})
        return {
            reference.model: item
            for reference, item in zip(references, found, strict=True)
            if item is not None and not self._is_model_by_chance(reference, item)
        }

    async def manifest(self, name: str, version: str) -> Manifest:
        """Returns the manifest of one version.

        Raises:
            WrongAdapter: The registry has no such version, or no trusted key signed it.
            StoreError: The object store failed.
        """
        found = await self._resolved(Reference(name, version))
        if isinstance(found, Manifest):
            return found
        raise found or WrongAdapter("the registry does not have this version any more")

    async def fetch(self, manifest: Manifest) -> Path:
        """Brings a version to local disk, verified, and keeps it there until `release`.

        A store that fails is asked again.

        Raises:
            WrongAdapter: A file is wrong, or the pool cannot serve the adapter.
            StoreError: The object store failed several times.
            OSError: The disk failed.
        """
        for delay in islice(backoff(self._random, first_s=0.2, cap_s=3.0), _TRIES - 1):
            try:
                return await self._fetch_once(manifest)
            except Stalled:
                raise  # it was asked for long enough
            except StoreError as error:
                log.warning("adapter %s: the object store failed (%s); again in %.1f s", manifest.model, error, delay)
            await self._clock.sleep(delay)
        return await self._fetch_once(manifest)

    def release(self, folder: Path) -> None:
        """Lets a folder be removed from the disk when others need its place."""
        self._cache.release(folder)

    async def _fetch_once(self, manifest: Manifest) -> Path:
        try:
            folder = await staged(self._stager, self._cache, manifest)
        except RefusedModel as error:
            raise WrongAdapter(str(error)) from None
        try:
            check_rank(read_rank(folder), self._settings.max_rank)
        except WrongAdapter:
            self._cache.release(folder)
            raise
        return folder

    async def _references(self) -> Sequence[Reference]:
        """One for each adapter. An exact name wins over a pattern."""
        found: dict[str, Reference] = {}
        patterns = tuple(name.removesuffix("*") for name in self._settings.names if name.endswith("*"))
        for model in await self._registry.models() if patterns else ():
            if model.startswith(patterns):
                found[model] = Reference(model)
        for name in self._settings.names:
            if not name.endswith("*"):
                reference = Reference.parse(name)
                found[reference.model] = reference
        if len(found) > MAX_ADAPTERS:
            log.error("%d adapters match; only the first %d are served", len(found), MAX_ADAPTERS)
        return list(found.values())[:MAX_ADAPTERS]

    def _is_model_by_chance(self, reference: Reference, found: Found) -> bool:
        """`support-*` may also match names of whole models."""
        named = any(name.partition("@")[0] == reference.model for name in self._settings.names)
        return not named and isinstance(found, Manifest) and found.kind == "model"

    def _note_missing(self, missing: set[Reference]) -> None:
        for reference in missing - self._missing:
            log.warning("the registry has no adapter %s yet", reference)
        self._missing = missing

    async def _found(self, reference: Reference, reading: asyncio.Semaphore) -> Found | None:
        """Raises StoreError."""
        async with reading:
            try:
                version = reference.which if reference.is_version else await self._registry.alias(reference)
            except UnknownVersion:
                return None
            except WrongManifest as error:
                return WrongAdapter(str(error))
            return await self._resolved(Reference(reference.model, version))

    async def _resolved(self, version: Reference) -> Found | None:
        """Raises StoreError."""
        if known := self._known.get(version.which):
            return known
        try:
            manifest = await self._registry.resolve(version)
            self._trusted.check(manifest)
        except UnknownVersion:
            return None
        except (WrongManifest, Untrusted) as error:
            return WrongAdapter(str(error))
        return manifest
