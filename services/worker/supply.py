"""Brings models to the disks of all nodes of a worker: its own, and those of its followers."""

import asyncio
import logging
from collections.abc import Collection, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from services.shared.config import Pool
from services.shared.manifests import Manifest
from services.shared.registry import Reference, UnknownVersion
from services.shared.speculators import reference_of
from services.shared.staging import Watcher
from services.worker.engine.contract import Drafter, Model
from services.worker.engine.node import Node, address_of, free_port
from services.worker.group.leader import Leader
from services.worker.model import ModelSource, reference
from services.worker.weight_update import UpdateOrder

log = logging.getLogger(__name__)

_Staged = TypeVar("_Staged", Model, Drafter)


class Supply:
    """The models of one worker."""

    def __init__(self, source: ModelSource, pool: Pool, leader: Leader | None) -> None:
        """`leader` is None for a worker of one node."""
        self._source, self._pool, self._leader = source, pool, leader

    async def fetch(self, order: UpdateOrder, draft_version: str = "") -> Model:
        """Fetches what the router says to start on, to this node.

        Args:
            order: The version of the model.
            draft_version: That of the speculator; "" for the configured one.

        Raises:
            RefusedModel: This pool cannot serve the model.
            WrongManifest: The manifest is damaged or not signed by a trusted key.
            UnknownVersion: The registry does not have the version that a rollout wants.
        """
        try:
            return await self._source.fetch(self._pool, order.version, draft_version)
        except UnknownVersion as error:
            if order.update_id or not order.version:
                raise
            # The pool serves another model than at its last rollout, or the version was removed.
            log.warning("the version of the last rollout is not there: %s; starting on %s", error, self._pool.model)
            return await self._source.fetch(self._pool, draft_version=draft_version)

    async def gather(self, model: Model, host: str) -> Node | None:
        """Waits for the followers, has the model staged on their nodes, and tells them to start.

        Args:
            model: The model, which is on this node.
            host: Where the followers reach this node.

        Returns:
            What this node is among them; None for a worker of one node.

        Raises:
            RefusedModel: A node cannot have the model, or a follower has gone.
            OSError: The host is not this machine's.
        """
        if (leader := self._leader) is None:
            return None
        await leader.complete()
        await leader.stage([str(version) for version in self._references(model)], ())
        address = address_of(host)
        port = free_port(address)
        leader.run(model.manifest.version, model.draft.manifest.version if model.draft else "", port)
        return Node(0, self._pool.engine.nodes, host, port, address)

    def _references(self, model: Model) -> list[Reference]:
        """The version of the model, and that of its speculator."""
        manifests = (model.manifest, *([model.draft.manifest] if model.draft else ()))
        return [Reference(manifest.model, manifest.version) for manifest in manifests]

    async def fetch_version(self, version: str, in_use: Collection[Path], watcher: Watcher | None = None) -> Model:
        """Brings another version to the disk of every node.

        Args:
            version: SHA-256 of the manifest.
            in_use: Folders that must stay; other versions may be removed from the disks.
            watcher: Follows the progress on this node.

        Raises:
            RefusedModel: This pool cannot serve the version, or a node cannot have it.
            WrongManifest: The manifest is damaged or not signed by a trusted key.
            UnknownVersion: The registry does not have the version.
            StoreError: The object store failed several times.
            OSError: The disk failed, or has no room.
        """
        fetching = self._source.fetch_version(self._pool, version, in_use, watcher)
        name = reference(self._pool.model, f"pools.{self._pool.name}.model").model
        return await self._on_all_nodes(fetching, Reference(name, version), in_use)

    async def fetch_drafter(
        self, version: str, target: Manifest, in_use: Collection[Path], watcher: Watcher | None = None
    ) -> Drafter:
        """Brings another version of the speculator to the disk of every node, for the model with manifest `target`.

        Raises what `fetch_version` raises.
        """
        name = reference(
            reference_of(self._pool.engine) or "", f"pools.{self._pool.name}.engine.speculation.model"
        ).model
        fetching = self._source.fetch_drafter(self._pool, version, target, in_use, watcher)
        return await self._on_all_nodes(fetching, Reference(name, version), in_use)

    async def _on_all_nodes(
        self, fetching: Coroutine[Any, Any, _Staged], version: Reference, in_use: Collection[Path]
    ) -> _Staged:
        if self._leader is None:
            return await fetching
        staging = self._leader.stage([str(version)], {folder.name for folder in in_use})
        staged: _Staged | BaseException
        staged, failure = await asyncio.gather(fetching, staging, return_exceptions=True)
        if isinstance(staged, BaseException):
            raise staged
        if failure is not None:
            raise failure
        return staged
