"""Brings models to the disks of all nodes of a worker: its own, and those of its followers."""

import asyncio
import logging
from collections.abc import Collection
from pathlib import Path

from services.shared.config import Pool
from services.shared.registry import Reference, UnknownVersion
from services.shared.staging import Watcher
from services.worker.engine.contract import Model
from services.worker.engine.node import Node, address_of, free_port
from services.worker.group.leader import Leader
from services.worker.model import ModelSource, reference
from services.worker.weight_update import UpdateOrder

log = logging.getLogger(__name__)


class Supply:
    """The models of one worker."""

    def __init__(self, source: ModelSource, pool: Pool, leader: Leader | None) -> None:
        """`leader` is None for a worker of one node."""
        self._source, self._pool, self._leader = source, pool, leader

    async def fetch(self, order: UpdateOrder) -> Model:
        """Fetches what the router says to start on, to this node.

        Raises:
            RefusedModel: This pool cannot serve the model.
            WrongManifest: The manifest is damaged or not signed by a trusted key.
            UnknownVersion: The registry does not have the version that a rollout wants.
        """
        try:
            return await self._source.fetch(self._pool, order.version)
        except UnknownVersion as error:
            if order.update_id or not order.version:
                raise
            # The pool serves another model than at its last rollout, or the version was removed.
            log.warning("the version of the last rollout is not there: %s; starting on %s", error, self._pool.model)
            return await self._source.fetch(self._pool)

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
        if self._leader is None:
            return await fetching
        name = reference(self._pool.model, f"pools.{self._pool.name}.model").model
        staging = self._leader.stage([str(Reference(name, version))], {folder.name for folder in in_use})
        model, failure = await asyncio.gather(fetching, staging, return_exceptions=True)
        if isinstance(model, BaseException):
            raise model
        if failure is not None:
            raise failure
        return model
