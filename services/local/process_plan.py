"""The processes of a cluster, derived from the options and the machine. Pure: nothing here starts or reads anything."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from services.local import redis, s3
from services.local.cluster_record import Addresses
from services.local.data_folder import DataFolder
from services.local.gpus import GpuNeed, hand_out
from services.local.machine import Machine
from services.local.options import UpOptions
from services.local.ports import HOST, Ports
from services.local.process_spec import START_LIMIT_S, HttpProbe, ProcessSpec
from services.local.s3 import StorePorts
from services.local.secrets import Secrets
from services.shared.config import Cluster, Pool
from services.shared.engine_settings import VllmEngine
from services.shared.objectstore import StoreSettings
from services.shared.settings import PREFIX

REST_PORT, GRPC_PORT = 8080, 8081
# A worker may compile its model.
WORKER_START_LIMIT_S = 900.0
# Gateways and workers finish running streams before they stop.
DRAIN_LIMIT_S = 35.0


@dataclass(frozen=True, slots=True)
class PortPair:
    """The gRPC port and the HTTP port of one service process."""

    grpc: int
    http: int


@dataclass(frozen=True, slots=True)
class PortPlan:
    """The ports of all processes of a cluster."""

    redis: int
    store: StorePorts
    routers: tuple[PortPair, ...]
    workers: tuple[PortPair, ...]
    gateway: PortPair
    trainer: int
    followers: tuple[int, ...] = ()

    @classmethod
    def choose(cls, ports: Ports, options: UpOptions, workers: int, followers: int = 0) -> "PortPlan":
        """Reserves the ports.

        Args:
            ports: Where ports are reserved.
            options: May name the ports of the gateway.
            workers: Number of workers of all pools.
            followers: Number of their followers.

        Raises:
            WrongSettings: A port that the options name is taken.
        """
        rest = ports.named(options.rest_port, "--rest-port") if options.rest_port else None
        grpc = ports.named(options.grpc_port, "--grpc-port") if options.grpc_port else None
        return cls(
            gateway=PortPair(grpc=grpc or ports.preferred(GRPC_PORT), http=rest or ports.preferred(REST_PORT)),
            redis=ports.free(),
            store=StorePorts.choose(ports),
            routers=tuple(PortPair(ports.free(), ports.free()) for _ in range(options.routers)),
            workers=tuple(PortPair(ports.free(), ports.free()) for _ in range(workers)),
            trainer=ports.free(),
            followers=tuple(ports.free() for _ in range(followers)),
        )


@dataclass(frozen=True, slots=True)
class ProcessPlan:
    """Everything that the processes of one cluster are started with.

    `public_key` verifies the signatures of model versions. `database_url` is None for SQLite files in the data folder.
    """

    folder: DataFolder
    cluster: Cluster
    secrets: Secrets
    public_key: str
    ports: PortPlan
    machine: Machine
    database_url: str | None = None

    @property
    def store(self) -> StoreSettings:
        """How the processes reach the object store."""
        return s3.settings(self.ports.store, self.secrets)

    @property
    def addresses(self) -> Addresses:
        """Where the parts of the cluster listen."""
        return Addresses(
            rest=_at(self.ports.gateway.http),
            grpc=_at(self.ports.gateway.grpc),
            redis=_at(self.ports.redis),
            s3=self.store.s3_endpoint,
            routers=tuple(_at(pair.grpc) for pair in self.ports.routers),
        )

    def redis_process(self) -> ProcessSpec:
        """Redis, or Valkey."""
        return redis.spec(self.folder, self.ports.redis, self.secrets.redis_password, self.machine.redis)

    def store_process(self) -> ProcessSpec:
        """The object store."""
        return s3.spec(self.folder, self.ports.store, self.secrets, self.machine.weed)

    def router_processes(self) -> tuple[ProcessSpec, ...]:
        """The routers, as many as the options say."""
        own = {"REDIS_URL": redis.url(self.ports.redis, self.secrets.redis_password)}
        return tuple(
            self._service("router", f"router-{number}", pair, own)
            for number, pair in enumerate(self.ports.routers, start=1)
        )

    def worker_processes(self) -> tuple[ProcessSpec, ...]:
        """The workers of all pools, numbered through."""
        return tuple(self._worker(name, pool, pair) for name, pool, pair in self._workers())

    def follower_processes(self) -> tuple[ProcessSpec, ...]:
        """The followers of workers with several nodes: this machine stands for all of them."""
        places = [
            (name, pool, pair, rank) for name, pool, pair in self._workers() for rank in range(1, pool.engine.nodes)
        ]
        return tuple(
            self._follower(_follower_name(name, rank), pool, leader, rank, port)
            for (name, pool, leader, rank), port in zip(places, self.ports.followers, strict=True)
        )

    def gpus(self) -> dict[str, tuple[str, ...]]:
        """The GPUs of each worker and follower, by name. Empty where the machine's GPUs are not known.

        Raises:
            WrongSettings: The machine has too few GPUs, or too little memory on them.
        """
        needs = [
            GpuNeed.of(process, pool.name, pool.engine)
            for name, pool, _ in self._workers()
            if isinstance(pool.engine, VllmEngine)
            for process in (name, *(_follower_name(name, rank) for rank in range(1, pool.engine.nodes)))
        ]
        return hand_out(needs, self.machine.gpus)

    def _workers(self) -> Iterator[tuple[str, Pool, PortPair]]:
        """Name, pool and ports of each worker."""
        pool_of_each = [pool for pool in self.cluster.pools for _ in range(pool.workers)]
        for number, (pool, pair) in enumerate(zip(pool_of_each, self.ports.workers, strict=True), start=1):
            yield f"worker-{number}", pool, pair

    def gateway_process(self) -> ProcessSpec:
        """The gateway."""
        own = {
            "ROUTERS": self._routers,
            "API_KEY": self.secrets.api_key,
            "ADMIN_KEY": self.secrets.admin_key,
            "SERVER_SECRET": self.secrets.server_secret,
            "DATA_DIR": str(self.folder.gateway),
            **({"DATABASE_URL": self.database_url} if self.database_url else {}),
            **store_variables(self.store),
        }
        return self._service("gateway", "gateway", self.ports.gateway, own, stop_limit_s=DRAIN_LIMIT_S)

    def trainer_process(self) -> ProcessSpec:
        """The trainer. It listens on one port only, for probes and metrics."""
        at = _at(self.ports.trainer)
        own = {
            "HTTP_LISTEN": at,
            "DATABASE_URL": self.jobs_url,
            "WORK_DIR": str(self.folder.training),
            "ROUTERS": self._routers,
            "TEACHER_URL": f"http://{_at(self.ports.gateway.http)}/v1",
            "TEACHER_API_KEY": self.secrets.api_key,
            **self.signer_variables(),
        }
        ready = HttpProbe(f"http://{at}/readyz")
        env = prefixed(own) | self._spare_gpus()
        return ProcessSpec("trainer", _python("trainer"), at, ready, env, http_address=at)

    def _spare_gpus(self) -> dict[str, str]:
        """The GPUs that no worker has. If there are none, the trainer shares those of the workers."""
        used = {gpu for gpus in self.gpus().values() for gpu in gpus}
        spare = [gpu for gpu in self.machine.gpus if gpu not in used]
        return {"CUDA_VISIBLE_DEVICES": ",".join(spare)} if spare else {}

    @property
    def jobs_url(self) -> str:
        """SQLAlchemy URL of the database that holds the training jobs."""
        return self.database_url or f"sqlite:///{self.folder.jobs}"

    def signer_variables(self) -> dict[str, str]:
        """Variables of a process that publishes models, without the prefix TIDEGATE_."""
        return {"SIGNING_KEY_FILE": str(self.folder.signing_key), **store_variables(self.store)}

    def import_argv(self, source: str, name: str) -> tuple[str, ...]:
        """Command line that imports the model at `source` into the registry as `name`."""
        return _python("services.cli", "models", "import", source, "--name", name, "--json")

    def _worker(self, name: str, pool: Pool, pair: PortPair) -> ProcessSpec:
        own = {"WORKER_ID": name, "ROUTERS": self._routers, **self._node_variables(name, pool)}
        engine = self._vllm_variables(name) if pool.engine.kind == "vllm" else {}
        return self._service(
            "worker", name, pair, own, engine, start_limit_s=WORKER_START_LIMIT_S, stop_limit_s=DRAIN_LIMIT_S
        )

    def _follower(self, name: str, pool: Pool, leader: PortPair, rank: int, port: int) -> ProcessSpec:
        own = {
            "CONFIG": str(self.folder.config),
            "HTTP_LISTEN": _at(port),
            "GROUP_ADDRESS": _at(leader.grpc),
            "NODE_RANK": str(rank),
            **self._node_variables(name, pool),
        }
        engine = self._vllm_variables(name) if pool.engine.kind == "vllm" else {}
        return ProcessSpec(
            name=name,
            argv=_python("services.worker", "--follow"),
            address="",
            http_address=_at(port),
            ready=HttpProbe(f"http://{_at(port)}/readyz"),
            env=prefixed(own) | engine,
            start_limit_s=WORKER_START_LIMIT_S,
            stop_limit_s=DRAIN_LIMIT_S,
        )

    def _node_variables(self, name: str, pool: Pool) -> dict[str, str]:
        """Variables of every process that runs a model or a part of one, without the prefix TIDEGATE_."""
        return {
            "POOL": pool.name,
            "CACHE_DIR": str(self.folder.model_cache(name)),
            "TRUSTED_KEYS": self.public_key,
            **store_variables(self.store),
        }

    def _vllm_variables(self, name: str) -> dict[str, str]:
        offline = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
        if not self.machine.vllm_on_cpu:
            gpus = self.gpus().get(name)
            return {**offline, "CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else offline
        preload = {"LD_PRELOAD": ":".join(self.machine.preload)} if self.machine.preload else {}
        return {**offline, **preload, **self._threads()}

    def _threads(self) -> dict[str, str]:
        """Each process that runs a model has the same share of the cores; a worker may have several such processes.

        Their threads are not bound to cores (worker/engine/vllm/executor.py). A process that loads torch also uses the
        core of a bound worker, where Linux can let it wait for minutes.
        """
        engines = [(pool.workers, pool.engine) for pool in self.cluster.pools]
        processes = sum(workers * engine.ranks for workers, engine in engines if engine.kind == "vllm")
        threads = max(1, (self.machine.cores - 1) // processes)  # one core stays free for the other processes
        return {"OMP_NUM_THREADS": str(threads)}

    @property
    def _routers(self) -> str:
        return ",".join(self.addresses.routers)

    def _service(
        self,
        service: str,
        name: str,
        pair: PortPair,
        own: Mapping[str, str],
        outer: Mapping[str, str] | None = None,
        *,
        start_limit_s: float = START_LIMIT_S,
        stop_limit_s: float = 10.0,
    ) -> ProcessSpec:
        """`own` are variables without the prefix TIDEGATE_; `outer` are variables that other programs read."""
        common = {"CONFIG": str(self.folder.config), "LISTEN": _at(pair.grpc), "HTTP_LISTEN": _at(pair.http)}
        return ProcessSpec(
            name=name,
            argv=_python(f"services.{service}"),
            address=_at(pair.grpc),
            http_address=_at(pair.http),
            ready=HttpProbe(f"http://{_at(pair.http)}/readyz"),
            env=prefixed({**common, **own}) | dict(outer or {}),
            start_limit_s=start_limit_s,
            stop_limit_s=stop_limit_s,
        )


def _follower_name(worker: str, rank: int) -> str:
    return f"{worker}-node-{rank}"


def store_variables(settings: StoreSettings) -> dict[str, str]:
    """The variables that StoreSettings reads, without the prefix TIDEGATE_."""
    return {name.upper(): value for name, value in settings.model_dump().items()}


def prefixed(variables: Mapping[str, str]) -> dict[str, str]:
    """The same variables with the prefix TIDEGATE_ before their names."""
    return {PREFIX + name.removeprefix(PREFIX): value for name, value in variables.items()}


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    """-P: Python must not import a folder `services` in the current folder instead of ours."""
    return (sys.executable, "-P", "-m", module, *arguments)


def _at(port: int) -> str:
    return f"{HOST}:{port}"
