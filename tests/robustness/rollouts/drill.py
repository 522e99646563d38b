"""One drill: rollouts with the policy `all_at_once`, there and back, under requests through two gateways.

What must hold, as clients see it: a request that was sent after an answer of the new version had come is not answered
by the old version, whichever gateway it went to. And no request fails.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle
from random import Random

import httpx

from services.cli.clients import rollouts
from services.cli.clients.rollouts import Asker, Policy, Rollout, Way
from tests.robustness.cluster_under_test import ClusterUnderTest
from tests.support.cluster import tidegate
from tests.support.plain_http import no_certificates

POOL, MODEL = "tide", "simulated"
ROUTERS = 2
TIMEOUT_S = 60.0
CALM_S = 0.5
VERSION_HEADER = "x-tidegate-model-version"


def config(workers: int) -> str:
    """The configuration of the cluster."""
    return (
        f"pools: [{{name: {POOL}, model: {MODEL}, workers: {workers},"
        " engine: {kind: simulated, max_running: 16, step_ms: 5, swap_ms: 100}}]\n"
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """One request. Times are seconds of one clock. version: empty if it failed; `error` says why."""

    gateway: int
    sent_s: float
    answered_s: float
    version: str
    error: str = ""


@dataclass(slots=True)
class Cycle:
    """One rollout, from the version `old` to `new`, and the requests that were sent meanwhile."""

    old: str
    new: str
    killed: bool
    rollout: Rollout
    took_s: float
    answers: list[Answer] = field(default_factory=list)

    @property
    def longest_s(self) -> float:
        """The longest time that a request took."""
        return max((answer.answered_s - answer.sent_s for answer in self.answers), default=0.0)

    def violations(self) -> list[str]:
        """What was wrong with it; nothing, if all is well."""
        found = [f"gateway {each.gateway}: {each.error}" for each in self.answers if each.error]
        if self.rollout.state != "done":
            found.append(f"the rollout is {self.rollout.state}: {self.rollout.reason}")
        answered = [answer for answer in self.answers if not answer.error]
        first_s = min((answer.answered_s for answer in answered if answer.version == self.new), default=None)
        if first_s is None or not any(answer.version == self.old for answer in answered):
            return [*found, "requests did not see both versions"]
        late = [answer for answer in answered if answer.version == self.old and answer.sent_s > first_s]
        found += [f"gateway {each.gateway}: sent {each.sent_s - first_s:.3f} s after, and old" for each in late]
        strange = {answer.version for answer in answered} - {self.old, self.new}
        return [*found, *(f"version {version}" for version in strange)]


async def drill(
    cluster: ClusterUnderTest, gateways: Sequence[str], *, cycles: int, kills: int, per_second: float, seed: int
) -> AsyncIterator[Cycle]:
    """Changes the pool over again and again. Yields each cycle when its requests have ended.

    Args:
        cluster: A running cluster with ROUTERS routers.
        gateways: URLs of its gateways, to `/v1`.
        cycles: How many rollouts.
        kills: In so many of them, evenly spread, a router is killed in the middle.
        per_second: Rate of requests.
        seed: Of requests, of who is killed and when.
    """
    random = Random(seed)
    versions = await _versions(cluster)
    async with _clients(cluster, gateways) as clients:
        for number in range(cycles):
            old, new = versions if number % 2 == 0 else versions[::-1]
            killed = number * kills // cycles != (number + 1) * kills // cycles
            yield await _cycle(cluster, clients, old, new, killed=killed, per_second=per_second, random=random)


async def _cycle(
    cluster: ClusterUnderTest,
    clients: Sequence[httpx.AsyncClient],
    old: str,
    new: str,
    *,
    killed: bool,
    per_second: float,
    random: Random,
) -> Cycle:
    loop, answers = asyncio.get_running_loop(), list[Answer]()

    async def change() -> tuple[Rollout, float]:
        await asyncio.sleep(CALM_S)
        began = loop.time()
        routers = cluster.view.cluster.record.addresses.routers
        way, asker = Way(policy=Policy.ALL_AT_ONCE), Asker(who="drill")
        started = await rollouts.start(routers, POOL, new, way, asker)
        if killed:
            await asyncio.sleep(random.uniform(0, 1.0))
            await asyncio.to_thread(_kill_a_router, cluster, random)
        ended = await rollouts.follow(routers, started, lambda _: None)
        took_s = loop.time() - began
        await asyncio.sleep(CALM_S)
        return ended, took_s

    changing = asyncio.create_task(change())
    async with asyncio.TaskGroup() as open_requests:
        due = loop.time()
        for gateway in cycle(range(len(clients))):
            if changing.done():
                break
            due += random.expovariate(per_second)
            await asyncio.sleep(max(0.0, due - loop.time()))
            open_requests.create_task(_send(clients, gateway, answers))
    rollout, took_s = changing.result()
    return Cycle(old, new, killed, rollout, took_s, answers)


def _kill_a_router(cluster: ClusterUnderTest, random: Random) -> None:
    """Kills one of the routers that serve, and starts it again."""
    injector = cluster.injector
    victim = random.choice(injector.wait_until_up(injector.named("router"), at_least=ROUTERS))
    injector.kill(victim)
    injector.start(victim)


async def _send(clients: Sequence[httpx.AsyncClient], gateway: int, answers: list[Answer]) -> None:
    now = asyncio.get_running_loop().time
    sent_s, version, error = now(), "", ""
    try:
        body = {"model": POOL, "prompt": "Which tide is it?", "max_tokens": 2, "temperature": 0}
        reply = await clients[gateway].post("completions", json=body)
        version = reply.headers.get(VERSION_HEADER, "")
        error = "" if reply.status_code == httpx.codes.OK else f"{reply.status_code}: {reply.text[:200]}"
    except httpx.HTTPError as failed:
        error = f"{type(failed).__name__}: {failed}"
    answers.append(Answer(gateway, sent_s, now(), version, error))


async def _versions(cluster: ClusterUnderTest) -> tuple[str, str]:
    """The version that the pool serves, and another one that is in the registry now."""
    folder = cluster.view.cluster.folder
    arguments = ("models", "import", "simulated:2", "--name", MODEL, "--alias", "next", "--json")
    done = await asyncio.to_thread(tidegate, folder, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    listed = await asyncio.to_thread(tidegate, folder, "workers", "list", "--json")
    (served,) = {worker["version"] for worker in json.loads(listed.stdout)}
    return served, json.loads(done.stdout)["version"]


@asynccontextmanager
async def _clients(cluster: ClusterUnderTest, gateways: Sequence[str]) -> AsyncIterator[list[httpx.AsyncClient]]:
    headers = {"authorization": f"Bearer {cluster.view.cluster.key}"}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    clients = [
        httpx.AsyncClient(
            base_url=f"{url}/",
            headers=headers,
            timeout=TIMEOUT_S,
            limits=limits,
            trust_env=False,
            verify=no_certificates(),
        )
        for url in gateways
    ]
    try:
        yield clients
    finally:
        for client in clients:
            await client.aclose()
