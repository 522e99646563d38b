"""A follower: the process of a worker on another node than the first. It obeys rank 0, and ends when that is gone."""

import asyncio
import logging
from random import Random, SystemRandom

from prometheus_client import CollectorRegistry

from services.shared import config, objectstore
from services.shared.clock import Clock, SystemClock
from services.shared.http import HttpServer
from services.shared.lifecycle import Tasks
from services.shared.manifests import WrongManifest
from services.shared.objectstore import StoreError
from services.shared.registry import Registry, UnknownVersion
from services.shared.settings import WrongSettings, split
from services.shared.signing import TrustedKeys
from services.shared.staging import RefusedModel, Stager
from services.shared.telemetry import admin_app
from services.worker.engine.build import build_part
from services.worker.engine.contract import Drafter, EngineDead, Model
from services.worker.engine.node import Node, own_address
from services.worker.engine.part import Part
from services.worker.group.connection import Connection, joined
from services.worker.group.membership import Membership
from services.worker.model import ModelSource, reference
from services.worker.model_cache import ModelCache
from services.worker.settings import FollowerSettings
from tidegate.worker.v1 import group_pb2 as pb

log = logging.getLogger(__name__)

_WATCH_S = 0.5
# Rank 0 hands requests over and says goodbye after its time to drain.
_GOODBYE_S = 10.0
# Rank 0 reads why this node cannot go on.
_TELL_S = 2.0


class FollowerApp:
    """One follower process.

    `ended` is set when it has nothing more to do: rank 0 has gone, or it failed (`failure` says why).
    """

    def __init__(
        self,
        settings: FollowerSettings,
        *,
        clock: Clock | None = None,
        random: Random | None = None,
        part: Part | None = None,
        store: objectstore.ObjectStore | None = None,
    ) -> None:
        """Wires the follower; nothing runs before `start`.

        Args:
            settings: From the environment.
            clock: Default: the system's clock.
            random: Default: the system's random numbers.
            part: Default: the part of the engine that the pool's configuration names.
            store: Default: the object store of the settings.

        Raises:
            WrongSettings: A setting or the pool's configuration is wrong.
        """
        self._settings, self._clock, self._random = settings, clock or SystemClock(), random or SystemRandom()
        self._pool = config.load(settings.config).pool(settings.pool)
        reference(self._pool.model, f"pools.{self._pool.name}.model")
        self._check_rank()
        self._part = part or build_part(self._pool.engine, f"pools.{self._pool.name}.engine")
        self._cache = ModelCache(settings.cache_dir, settings.spare_versions, settings.cache_bytes)
        store = store or objectstore.connect(settings)
        trusted = TrustedKeys(settings.trusted_keys)
        stager = Stager(store, settings.cache_dir, self._clock, trusted, settings.transfer_limits, self._random)
        self._source = ModelSource(Registry(store), stager, self._cache, clock=self._clock, random=self._random)
        self._models: dict[str, Model] = {}
        self._connection: Connection | None = None
        self._one_order = asyncio.Lock()
        self._runs = False
        self._stopping = False
        self._gone = asyncio.Event()
        self._tasks = Tasks()
        self._http: HttpServer | None = None
        self.http_address = ""
        self.ended = asyncio.Event()
        self.failure: str | None = None
        self.wrong: WrongSettings | None = None

    async def start(self) -> None:
        """Binds the address of the probes, and joins the group in the background.

        Raises:
            WrongSettings: The address is in use.
        """
        admin = admin_app(self.live, self.ready, CollectorRegistry())
        self._http = HttpServer(admin, *split(self._settings.http_listen))
        try:
            self.http_address = await self._http.start()
        except OSError as error:
            raise WrongSettings(f"TIDEGATE_HTTP_LISTEN: {error}") from error
        for name, work in {"follow": self._follow(), "watch": self._watch()}.items():
            self._tasks.start(work, name).add_done_callback(self._fail_with)

    async def stop(self) -> None:
        """Lets the whole worker drain, within its time, and then ends this node's part."""
        self._stopping = True
        if self._connection and not self._gone.is_set():
            await self._say_goodbye(self._connection)
        await self._part.stop()
        await self._tasks.stop()
        self._cache.keep(())
        if self._http:
            await self._http.stop()

    async def _say_goodbye(self, connection: Connection) -> None:
        """Tells rank 0 why this node cannot go on, or waits until the worker has drained."""
        if self.failure:
            await connection.send(pb.JoinRequest(broken=pb.Broken(reason=self.failure)))
            limit_s = _TELL_S
        else:
            await connection.send(pb.JoinRequest(leaving=pb.Leaving()))
            limit_s = self._settings.drain_s + _GOODBYE_S
        try:
            async with asyncio.timeout(limit_s):
                await self._gone.wait()
        except TimeoutError:
            log.warning("rank 0 did not end the stream within %g s", limit_s)

    def live(self) -> str | None:
        """Returns what is wrong with the process, or None."""
        return self.failure or self._part.death

    def ready(self) -> str | None:
        """Returns why this node's part of the model cannot be used yet, or None."""
        if self._runs:
            return self.live()
        return "starting" if self._connection else "not joined"

    def _check_rank(self) -> None:
        nodes, rank = self._pool.engine.nodes, self._settings.node_rank
        if rank >= nodes:
            followers = f"1 to {nodes - 1}" if nodes > 1 else "none"
            raise WrongSettings(
                f"TIDEGATE_NODE_RANK = {rank}: pools.{self._pool.name}.engine.nodes = {nodes}, so its followers are"
                f" {followers}"
            )

    async def _follow(self) -> None:
        """Joins the group once, and obeys until rank 0 has gone."""
        settings, membership = self._settings, Membership.of(self._pool, self._settings.node_rank)
        group = joined(settings.group_address, membership, clock=self._clock, random=self._random, tls=settings.tls())
        try:
            async with group as self._connection:
                async for order in self._connection.orders():
                    self._tasks.start(self._obey(self._connection, order), "order").add_done_callback(self._fail_with)
        except WrongSettings as error:
            self.wrong = error
            self._fail(str(error))
            return
        self._gone.set()
        self._fail("rank 0 has gone")

    async def _obey(self, connection: Connection, order: pb.JoinResponse) -> None:
        """Carries out one order after the other. Rank 0 never has more than a few open."""
        async with self._one_order:
            match order.WhichOneof("frame"):
                case "stage":
                    error = await self._stage(order.stage)
                    await connection.send(pb.JoinRequest(staged=pb.Staged(order=order.stage.order, error=error)))
                case "run":
                    await self._run(order.run)
                case kind:
                    log.warning("rank 0 sent a frame out of place: %s", kind)

    async def _stage(self, order: pb.Stage) -> str:
        """Brings the versions to this node's disk. Returns why that is not possible, or an empty text."""
        self._models = {version: self._models[version] for version in order.kept if version in self._models}
        self._cache.keep([model.folder for model in self._models.values()])
        try:
            for text in order.references:
                model = await self._source.fetch_exact(reference(text, "rank 0's order"))
                self._models[model.manifest.version] = model
        except (RefusedModel, WrongManifest, UnknownVersion, StoreError, WrongSettings) as error:
            return str(error)
        except OSError as error:
            return f"the version cannot be kept on this machine: {error}"
        return ""

    async def _run(self, order: pb.Run) -> None:
        """Starts this node's part. Rank 0 learns from the end of the stream if that fails, and here why."""
        try:
            await self._part.start(self._staged(order), self._node(order.port))
        except (EngineDead, OSError) as error:
            self._fail(str(error))
            return
        self._runs = True
        log.info("this node's part of %s is ready", order.model_version)

    def _staged(self, order: pb.Run) -> Model:
        """Raises EngineDead: rank 0 did not have it staged."""
        try:
            model = self._models[order.model_version]
            drafter = self._models[order.draft_version] if order.draft_version else None
        except KeyError as error:
            raise EngineDead(f"version {error} was not staged on this node") from None
        return Model(model.folder, model.manifest, Drafter(drafter.folder, drafter.manifest) if drafter else None)

    def _node(self, port: int) -> Node:
        """Raises OSError."""
        master, settings = split(self._settings.group_address)[0], self._settings
        return Node(settings.node_rank, self._pool.engine.nodes, master, port, own_address(master))

    async def _watch(self) -> None:
        """Checks the part regularly."""
        while self.failure is None:
            await self._clock.sleep(_WATCH_S)
            if self._part.death and not self._stopping:
                self._fail(self._part.death)

    def _fail(self, reason: str) -> None:
        if self.failure is None:
            log.error("this follower cannot go on: %s", reason)
            self.failure = reason
        self.ended.set()

    def _fail_with(self, task: asyncio.Task[None]) -> None:
        """Ends the follower when one of its own tasks fails; the supervisor restarts the process."""
        if not task.cancelled() and (error := task.exception()):
            self._fail(f"{task.get_name()}: {error!r}")
