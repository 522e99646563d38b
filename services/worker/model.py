"""Brings a model from the registry to local disk, however long the object store takes to start."""

import logging
from collections.abc import Collection
from itertools import islice
from pathlib import Path
from random import Random

from services.shared.architectures import SIMULATED, is_scorer
from services.shared.backoff import backoff
from services.shared.clock import Clock
from services.shared.config import Pool
from services.shared.engine_settings import Ngram, Suffix, VllmEngine
from services.shared.manifests import Manifest
from services.shared.objectstore import StoreError
from services.shared.registry import Reference, Registry, UnknownVersion
from services.shared.settings import WrongSettings
from services.shared.speculators import misfit, reference_of
from services.shared.staging import RefusedModel, Stager, Watcher
from services.shared.transfer import Stalled
from services.worker.engine.contract import Drafter, Model
from services.worker.model_cache import ModelCache, staged

log = logging.getLogger(__name__)

_TRIES = 5


def reference(text: str, key: str) -> Reference:
    """Parses a model reference of tidegate.yaml.

    Args:
        text: The reference.
        key: The configuration key that holds it, for the error.

    Raises:
        WrongSettings: The text is no reference.
    """
    try:
        return Reference.parse(text)
    except ValueError as error:
        raise WrongSettings(f"{key} = {error}") from None


class ModelSource:
    """Brings model versions from the registry to local disk."""

    def __init__(self, registry: Registry, stager: Stager, cache: ModelCache, *, clock: Clock, random: Random) -> None:
        self._registry, self._stager, self._cache = registry, stager, cache
        self._clock, self._random = clock, random

    async def fetch(self, pool: Pool, version: str = "", draft_version: str = "") -> Model:
        """Downloads the pool's model, and its speculator if it has one.

        Waits while the object store does not answer, or the pool's model is not published yet; the log says so.

        Args:
            pool: The pool.
            version: SHA-256 of the manifest; "" for the version that the pool's configuration names.
            draft_version: The same of its speculator. A version that the registry does not have gives way to the
                configured one.

        Raises:
            RefusedModel: This pool cannot serve the model, or the speculator does not fit it.
            WrongManifest: The manifest is damaged or not signed by a trusted key.
            UnknownVersion: The registry does not have this version.
        """
        served = reference(pool.model, f"pools.{pool.name}.model")
        if version:
            model = await self._fetch_when_possible(Reference(served.model, version))
        else:
            model = await self._fetch_when_published(served)
        _check(pool, model.manifest)
        if named := reference_of(pool.engine):
            draft = await self._fetch_draft(reference(named, f"{_speculation_key(pool)}.model"), draft_version)
            check_drafter(pool, draft.manifest, model.manifest)
            return Model(model.folder, model.manifest, Drafter(draft.folder, draft.manifest))
        return model

    async def _fetch_draft(self, named: Reference, version: str) -> Model:
        if version:
            try:
                return await self._fetch_when_possible(Reference(named.model, version))
            except UnknownVersion as error:
                log.warning("the speculator of the last rollout is not there: %s; starting with %s", error, named)
        return await self._fetch_when_published(named)

    async def fetch_drafter(
        self, pool: Pool, digest: str, target: Manifest, in_use: Collection[Path], watcher: Watcher | None = None
    ) -> Drafter:
        """Downloads another version of the pool's speculator.

        Args:
            pool: The pool.
            digest: SHA-256 of the manifest.
            target: What the pool serves.
            in_use: Folders that must stay; other versions may be removed from the disk.
            watcher: Follows the progress.

        Raises:
            RefusedModel: It does not fit the pool, or the pool has no speculator.
            WrongManifest: The manifest is damaged or not signed by a trusted key.
            UnknownVersion: The registry does not have the version.
            StoreError: The object store failed several times.
        """
        if (text := reference_of(pool.engine)) is None:
            raise RefusedModel(f"{_speculation_key(pool)} names no speculator of the registry")
        self._cache.keep(in_use)
        named = reference(text, f"{_speculation_key(pool)}.model")
        draft = await self.fetch_exact(Reference(named.model, digest), watcher)
        check_drafter(pool, draft.manifest, target)
        return Drafter(draft.folder, draft.manifest)

    async def fetch_version(
        self, pool: Pool, digest: str, in_use: Collection[Path], watcher: Watcher | None = None
    ) -> Model:
        """Downloads another version of the pool's model.

        Args:
            pool: The pool whose model gets the version.
            digest: SHA-256 of the manifest.
            in_use: Folders that must stay; other versions may be removed from the disk.
            watcher: Follows the progress.

        Raises:
            RefusedModel: This pool cannot serve the version.
            WrongManifest: The manifest is damaged or not signed by a trusted key.
            UnknownVersion: The registry does not have the version.
            StoreError: The object store failed several times.
        """
        self._cache.keep(in_use)
        named = reference(pool.model, f"pools.{pool.name}.model")
        model = await self.fetch_exact(Reference(named.model, digest), watcher)
        _check(pool, model.manifest)
        return model

    async def fetch_exact(self, version: Reference, watcher: Watcher | None = None) -> Model:
        """Downloads a version, with a few tries. `watcher` follows the progress.

        Raises:
            RefusedModel: The signature or a file is wrong.
            WrongManifest: The manifest is damaged or not signed by a trusted key.
            UnknownVersion: The registry does not have the version.
            StoreError: The object store failed several times.
        """
        for delay in islice(backoff(self._random, first_s=0.2, cap_s=3.0), _TRIES - 1):
            try:
                return await self._fetch_once(version, watcher)
            except Stalled:
                raise  # it was asked for long enough
            except StoreError as error:
                log.warning("model %s: the object store failed (%s); trying again in %.1f s", version, error, delay)
            await self._clock.sleep(delay)
        return await self._fetch_once(version, watcher)

    async def _fetch_once(self, version: Reference, watcher: Watcher | None = None) -> Model:
        manifest = await self._registry.resolve(version)
        return Model(await staged(self._stager, self._cache, manifest, watcher), manifest)

    async def _fetch_when_published(self, version: Reference) -> Model:
        for delay in backoff(self._random, first_s=0.2, cap_s=3.0):
            try:
                return await self._fetch_when_possible(version)
            except UnknownVersion as error:
                log.warning("model %s: %s; looking again in %.1f s", version, error, delay)
            await self._clock.sleep(delay)
        raise AssertionError("backoff never ends")

    async def _fetch_when_possible(self, version: Reference) -> Model:
        """Waits while the object store does not answer. Raises UnknownVersion."""
        for delay in backoff(self._random, first_s=0.2, cap_s=3.0):
            try:
                return await self._fetch_once(version)
            except StoreError as error:
                log.warning("model %s: the object store failed (%s); trying again in %.1f s", version, error, delay)
            await self._clock.sleep(delay)
        raise AssertionError("backoff never ends")


def _check(pool: Pool, manifest: Manifest) -> None:
    """Raises RefusedModel when no worker of the pool could serve the version."""
    if manifest.speculates:
        raise RefusedModel(
            f"{pool.model} is a speculator for {manifest.speculates.target}: name that as the pool's model, and this"
            f" one as {_speculation_key(pool)}.model"
        )
    if manifest.kind != "model":
        raise RefusedModel(f"{pool.model} is an adapter for {manifest.base}; a pool serves whole models")
    if is_scorer(manifest.architecture):
        raise RefusedModel(
            f"{pool.model} is a reward model ({manifest.architecture}), which gives numbers and no text; no pool of"
            " this version serves it"
        )
    if isinstance(pool.engine, VllmEngine) and manifest.architecture == SIMULATED:
        raise RefusedModel(f"{pool.model} is a simulated model; vLLM cannot run it")


def check_drafter(pool: Pool, drafter: Manifest, target: Manifest) -> None:
    """Raises RefusedModel when a speculator does not fit what the pool serves, with the key and a way out."""
    speculation = pool.engine.speculation
    if speculation is None or isinstance(speculation, Ngram | Suffix):
        return
    if reason := misfit(_speculation_key(pool), speculation.method, drafter, target):
        raise RefusedModel(reason)


def _speculation_key(pool: Pool) -> str:
    return f"pools.{pool.name}.engine.speculation"
