"""The life of a cluster on this machine: plan, start in order, run until told to stop, stop in reverse order."""

import asyncio
import logging
import os
from collections.abc import Coroutine
from random import Random
from typing import Any

import psutil

from services.local import cluster_record, env_file, prometheus_targets, redis, s3, secrets, served_pools
from services.local.data_folder import DataFolder, write_private
from services.local.errors import ClusterError
from services.local.events import Event, Report
from services.local.inherited import inherited
from services.local.machine import Machine
from services.local.options import UpOptions
from services.local.ports import Ports
from services.local.process import Launcher, explain, tail
from services.local.process_plan import PortPlan, ProcessPlan, prefixed
from services.local.process_spec import HttpProbe, ProcessSpec
from services.local.ready_workers import ready_workers
from services.local.supervisor import Supervisor
from services.shared.clock import Clock, SystemClock
from services.shared.manifests import WrongManifest
from services.shared.objectstore import connect
from services.shared.registry import CANDIDATE, Reference, Registry, UnknownVersion
from services.shared.signing import TrustedKeys, Untrusted
from trainer.sources.pick import BUILT_IN

log = logging.getLogger(__name__)

_ALL_READY_LIMIT_S = 60.0
_ASK_EVERY_S = 0.1


async def run(
    options: UpOptions, report: Report, stop: asyncio.Event, *, clock: Clock | None = None, random: Random | None = None
) -> None:
    """Runs a cluster until `stop` is set.

    Raises:
        ClusterError: The cluster cannot start.
        WrongSettings: An option or the configuration is wrong.
    """
    folder = DataFolder.at(options.data_dir)
    folder.prepare()
    random = random or Random()  # noqa: S311
    with folder.locked(), Ports(random) as ports:
        local = LocalCluster(options, make_plan(options, folder, ports), report, clock or SystemClock(), random)
        try:
            await _unless(stop, local.start())
            await stop.wait()
        finally:
            await local.stop()


def make_plan(options: UpOptions, folder: DataFolder, ports: Ports) -> ProcessPlan:
    """Plans the processes. Nothing is started yet.

    Raises:
        ClusterError: A program is missing on this machine.
        WrongSettings: An option or the configuration is wrong.
    """
    cluster = served_pools.effective(served_pools.configured(options.config, options.working_dir), options)
    served_pools.references(cluster)
    machine = Machine.detect()
    served_pools.check_device(cluster, on_cpu=machine.vllm_on_cpu)
    workers = sum(pool.workers for pool in cluster.pools)
    followers = sum(pool.workers * (pool.engine.nodes - 1) for pool in cluster.pools)
    chosen = PortPlan.choose(ports, options, workers, followers)
    public_key = secrets.load_or_create_signing_key(folder).public
    plan = ProcessPlan(
        folder,
        cluster,
        secrets.load_or_create(folder),
        public_key,
        chosen,
        machine,
        database_url=options.database_url,
    )
    plan.gpus()  # Too few of them stop the start here, before anything runs.
    return plan


class LocalCluster:
    """A cluster on this machine, from its start to its stop."""

    def __init__(self, options: UpOptions, plan: ProcessPlan, report: Report, clock: Clock, random: Random) -> None:
        self._options, self._plan, self._report, self._clock = options, plan, report, clock
        self._phase: cluster_record.Phase = "starting"
        self._launcher = Launcher(plan.folder, inherited(os.environ))
        self._supervisor = Supervisor(self._launcher, clock=clock, random=random, changed=self._save)
        self._began = clock.monotonic()

    async def start(self) -> None:
        """Starts everything and returns when requests can be served.

        Raises:
            ClusterError: A process cannot start, or a model cannot be provided.
        """
        plan = self._plan
        self._write_files()
        await self._stage(plan.redis_process())
        # Routers do not need the object store, and the store needs three seconds to start.
        await asyncio.gather(self._stage(plan.store_process()), self._stage(*plan.router_processes()))
        # Workers need half a minute to load vLLM before they look for the model. Then they wait for it.
        providing = asyncio.create_task(self._provide_models())
        try:
            others = (plan.gateway_process(), plan.trainer_process())
            serving_all = self._stage(*plan.worker_processes(), *plan.follower_processes(), *others)
            await asyncio.gather(providing, serving_all)
        finally:
            providing.cancel()
        await self._step("all workers take requests", self._all_workers_ready())
        self._phase = "running"
        self._save()
        self._report(Event(kind="ready", detail=f"{self._clock.monotonic() - self._began:.1f}"))

    async def stop(self) -> None:
        """Stops all processes and removes the files that describe them."""
        self._phase = "stopping"
        self._report(Event(kind="stopping"))
        await self._supervisor.stop()
        for file in (self._plan.folder.state, self._plan.folder.prometheus_targets):
            file.unlink(missing_ok=True)
        self._report(Event(kind="stopped"))

    def _write_files(self) -> None:
        make_plan, folder = self._plan, self._plan.folder
        write_private(folder.config, served_pools.to_yaml(make_plan.cluster))
        redis.write_config(folder, make_plan.ports.redis, make_plan.secrets.redis_password)
        s3.write_config(folder, make_plan.secrets)
        write_private(folder.jobs_url, make_plan.jobs_url)
        env_file.write(folder, env_file.variables(make_plan.addresses, make_plan.secrets))

    async def _stage(self, *specs: ProcessSpec) -> None:
        for spec in specs:
            self._report(Event(kind="begun", subject=spec.name))

        def ready(spec: ProcessSpec) -> None:
            self._report(Event(kind="done", subject=spec.name, detail=spec.address))

        await self._supervisor.start(specs, ready)

    async def _step(self, subject: str, work: Coroutine[Any, Any, str]) -> None:
        """Reports the begin and the end of `work`, which returns a few words about its result."""
        self._report(Event(kind="begun", subject=subject))
        self._report(Event(kind="done", subject=subject, detail=await work))

    async def _provide_models(self) -> None:
        for reference in served_pools.references(self._plan.cluster):
            await self._provide(reference)

    async def _provide(self, reference: Reference) -> None:
        """Puts the model into the registry where it is missing. A model that was named by path is always imported."""
        named = served_pools.named_model(self._options.model) if self._options.model else None
        if named and named.path and named.name == reference.model:
            await self._step(f"model {reference.model}", self._import(str(named.path), reference))
        elif not await self._is_known(reference):
            if reference.model not in BUILT_IN:
                raise ClusterError(_unknown_model(reference))
            await self._step(f"model {reference.model}", self._import(reference.model, reference))

    async def _is_known(self, reference: Reference) -> bool:
        """Whether the registry has the model, signed with this cluster's key.

        Workers do not load what another key signed, so such a model is imported again.
        """
        try:
            manifest = await Registry(connect(self._plan.store)).resolve(reference)
            TrustedKeys([self._plan.public_key]).check(manifest)
        except (UnknownVersion, WrongManifest, Untrusted):
            return False
        return True

    async def _import(self, source: str, reference: Reference) -> str:
        """Imports in a separate process: conversion takes much memory, which only the end of a process frees."""
        variables = prefixed(self._plan.signer_variables())
        argv = self._plan.import_argv(source, reference.model)
        child = await self._launcher.start(ProcessSpec("import", argv, "", HttpProbe(""), variables))
        try:
            status = await child.wait()
        finally:
            await child.end()
        if status:
            file = self._launcher.folder.log("import")
            raise ClusterError(f"importing {source} {explain(status)}. The end of its log, {file}:\n{tail(file)}")
        if not reference.is_version:
            # No worker runs yet, so there is none that a rollout would bring there.
            registry = Registry(connect(self._plan.store))
            await registry.move_alias(reference, await registry.alias(Reference(reference.model, CANDIDATE)))
        return "imported"

    async def _all_workers_ready(self) -> str:
        expected = {spec.name for spec in self._plan.worker_processes()}
        routers = self._plan.addresses.routers
        deadline = self._clock.monotonic() + _ALL_READY_LIMIT_S
        while not expected <= (found := await ready_workers(routers)):
            if self._clock.monotonic() > deadline:
                raise ClusterError(
                    f"the router does not count these workers as ready: {', '.join(sorted(expected - found))}"
                )
            await self._clock.sleep(_ASK_EVERY_S)
        return f"{len(expected)} of {len(expected)}"

    def _save(self) -> None:
        own = psutil.Process()
        record = cluster_record.ClusterRecord(
            supervisor_pid=own.pid,
            supervisor_created=own.create_time(),
            state=self._phase,
            addresses=self._plan.addresses,
            models=tuple(pool.name for pool in self._plan.cluster.pools),
            processes=self._supervisor.records(),
        )
        cluster_record.save(self._plan.folder.state, record)
        write_private(self._plan.folder.prometheus_targets, prometheus_targets.to_json(record.processes))


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Runs `work` to its end, or cancels it as soon as `stop` is set."""
    working = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        if not working.done():
            working.cancel()
    try:
        await working
    except asyncio.CancelledError:
        if not stop.is_set():
            raise


def _unknown_model(reference: Reference) -> str:
    return (
        f"the registry has no {reference} that this cluster signed. "
        "Name a folder or .gguf file to import (--model PATH), "
        f"or a model that needs no import: {', '.join(BUILT_IN)}"
    )
