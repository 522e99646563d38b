"""Redis as operators run it: a cluster, a master with a Sentinel, a server behind TLS."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import redis

from loadtests.redis_server import programs
from services.local.ports import Ports
from services.shared.certificates import Tls
from tests.support.wait import wait_until

SLOTS = 16_384


@dataclass(frozen=True, slots=True)
class Server:
    """A running Redis on loopback."""

    port: int
    process: subprocess.Popen[bytes]

    def client(self) -> redis.Redis:
        """A client that retries until the server accepts connections."""
        retry = redis.retry.Retry(redis.backoff.ConstantBackoff(0.05), 100)
        return redis.Redis(port=self.port, decode_responses=True, retry=retry, retry_on_error=[redis.ConnectionError])

    def kill(self) -> None:
        """`kill -9`."""
        self.process.kill()
        self.process.wait()


@contextmanager
def server(folder: Path, *options: str) -> Iterator[Server]:
    """Starts a Redis on a free port, with these options of `redis-server`, and kills it at the end."""
    with Ports(Random()) as ports:
        port = ports.free()
        folder = folder / str(port)
        folder.mkdir()
        command = [programs()[0], "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        with _running([*command, *options]) as process:
            started = Server(port, process)
            with started.client() as client:
                client.ping()
            yield started


@contextmanager
def _running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class Cluster:
    """A Redis Cluster of several masters."""

    def __init__(self, *nodes: Server) -> None:
        self.nodes = nodes
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)

    def move(self, slot: int, begin: Server, end: Server) -> Iterator[None]:
        """Moves a slot to another master, as operators' tools do. Yields while the move is under way."""
        with begin.client() as giver, end.client() as taker:
            ids = giver.cluster("MYID"), taker.cluster("MYID")
            taker.cluster("SETSLOT", slot, "IMPORTING", ids[0])
            giver.cluster("SETSLOT", slot, "MIGRATING", ids[1])
            yield
            while keys := giver.cluster("GETKEYSINSLOT", slot, 100):
                giver.execute_command("MIGRATE", "127.0.0.1", end.port, "", 0, 1000, "KEYS", *keys)
            for client in (taker, giver):
                client.cluster("SETSLOT", slot, "NODE", ids[1])


@asynccontextmanager
async def redis_cluster(folder: Path) -> AsyncIterator[Cluster]:
    """Starts three masters that share the slots evenly."""
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
    with (
        Ports(Random()) as buses,
        server(folder, *options, "--cluster-port", str(buses.free())) as one,
        server(folder, *options, "--cluster-port", str(buses.free())) as two,
        server(folder, *options, "--cluster-port", str(buses.free())) as three,
    ):
        cluster = Cluster(one, two, three)
        _join(cluster)
        await wait_until(lambda: all(map(_is_whole, cluster.nodes)), description="the nodes have come together")
        yield cluster


def _join(cluster: Cluster) -> None:
    share = SLOTS // len(cluster.nodes) + 1
    for n, node in enumerate(cluster.nodes):
        with node.client() as client, cluster.nodes[0].client() as first:
            client.cluster("ADDSLOTSRANGE", n * share, min(SLOTS, (n + 1) * share) - 1)
            client.cluster("SET-CONFIG-EPOCH", n + 1)
            first.cluster("MEET", "127.0.0.1", node.port, client.config_get("cluster-port")["cluster-port"])


def _is_whole(node: Server) -> bool:
    with node.client() as client:
        info = client.cluster("INFO")
    return bool(info["cluster_state"] == "ok" and info["cluster_size"] == "3")


@dataclass(frozen=True, slots=True)
class Watched:
    """A master and a replica, and the URL of the Sentinel that watches them."""

    url: str
    master: Server
    replica: Server


@asynccontextmanager
async def watched_by_sentinel(folder: Path) -> AsyncIterator[Watched]:
    """Starts a master, a replica and a Sentinel, which promotes the replica half a second after the master's end."""
    at_once = ("--repl-diskless-sync-delay", "0")
    with server(folder, *at_once) as master, server(folder, "--replicaof", "127.0.0.1", str(master.port)) as replica:
        # A Sentinel that does not find the replica at once looks again only after ten seconds.
        await wait_until(lambda: _follows(replica), description="the replica follows")
        with Ports(Random()) as ports, _sentinel(folder, ports.free(), master) as sentinel:
            await wait_until(lambda: _knows_a_replica(sentinel), description="the Sentinel knows the replica")
            yield Watched(f"redis+sentinel://127.0.0.1:{sentinel.port}/tides/0", master, replica)


@contextmanager
def _sentinel(folder: Path, port: int, master: Server) -> Iterator[Server]:
    config = folder / "sentinel.conf"
    config.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
        f"sentinel monitor tides 127.0.0.1 {master.port} 1\n"
        "sentinel down-after-milliseconds tides 500\nsentinel failover-timeout tides 2000\n"
    )
    with _running([programs()[0], str(config), "--sentinel"]) as process:
        yield Server(port, process)


def _follows(replica: Server) -> bool:
    with replica.client() as client:
        return bool(dict(client.info("replication"))["master_link_status"] == "up")


def _knows_a_replica(sentinel: Server) -> bool:
    with sentinel.client() as client:
        return bool(dict(client.info("sentinel")).get("master0", {}).get("slaves") == 1)


@asynccontextmanager
async def behind_tls(port: int, tls: Tls) -> AsyncIterator[int]:
    """Puts TLS before a server, because the Redis that comes as a Python package has none. Yields the TLS port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tls.authority))
    context.load_cert_chain(tls.certificate, tls.key)
    context.verify_mode = ssl.CERT_REQUIRED

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward_reader, onward_writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.TaskGroup() as both:
            both.create_task(_copy(reader, onward_writer))
            both.create_task(_copy(onward_reader, writer))

    listener = await asyncio.start_server(pass_on, "127.0.0.1", ssl=context)
    async with listener:
        yield listener.sockets[0].getsockname()[1]


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()
