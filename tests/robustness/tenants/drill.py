"""One drill: two tenants at once, with invalid requests and a database that is away for a moment, and then a search."""

import asyncio
import itertools
import secrets
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

import httpx

from loadtests.target import Target
from tests.robustness.cluster_with_database import ClusterWithDatabase
from tests.robustness.request import MODEL, Request, chat
from tests.robustness.response import mismatch
from tests.robustness.tenants.canaries import Canaries, places
from tests.robustness.workload import Workload
from tests.support.postgres import Postgres
from tests.support.wait import wait_until

TENANTS = ("harbour", "lighthouse")
REQUESTS = 20
OPEN = 12
"""Requests of each tenant that are always open."""
LONG = 200
"""Words of a prompt that fills some blocks of the prefix cache."""
TIMEOUT_S = 300.0


@dataclass(slots=True)
class Run:
    """What the drill found: how many requests there were, and violations in words."""

    requests: int
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        shown = "".join(f"\n  {violation}" for violation in self.violations[:12])
        return f"{self.requests} requests of {len(TENANTS)} tenants; {len(self.violations)} violations{shown}"


async def drill(cluster: ClusterWithDatabase, *, requests: int, seed: int) -> Run:
    """Sends at least so many requests of two tenants, and then searches for secrets in everything that was written."""
    random, canaries, view = Random(seed), Canaries(), cluster.cluster.view
    canaries.add_cluster_secrets(view)
    run = Run(requests)
    async with _admin(cluster) as admin:
        keys = {tenant: await _key(admin, tenant, canaries) for tenant in TENANTS}
    requests_by_key = {keys[tenant]: _requests(tenant, canaries) for tenant in TENANTS}
    run.violations += await _caches(cluster, list(requests_by_key))
    async with asyncio.TaskGroup() as group:
        group.create_task(_interleave(cluster, requests_by_key, run, random))
        group.create_task(_stop_for_a_moment(cluster.database))
        group.create_task(_invalid(cluster, list(requests_by_key), canaries))
    run.violations += canaries.leaks(await places(cluster.cluster) | {"an error": "\n".join(canaries.errors)})
    return run


def _admin(cluster: ClusterWithDatabase) -> httpx.AsyncClient:
    running = cluster.cluster.view.cluster
    headers = {"authorization": f"Bearer {running.variables['TIDEGATE_ADMIN_KEY']}"}
    return httpx.AsyncClient(base_url=f"{running.rest}/admin/", headers=headers, timeout=30)


async def _key(admin: httpx.AsyncClient, tenant: str, canaries: Canaries) -> str:
    (await admin.post("tenants", json={"name": tenant})).raise_for_status()
    made = await admin.post("keys", json={"name": tenant, "tenant": tenant})
    key = canaries.secrets[f"key of {tenant}"] = str(made.raise_for_status().json()["key"])
    return key


# ---- responses are not mixed up


async def _interleave(
    cluster: ClusterWithDatabase, requests_by_key: dict[str, list[Request]], run: Run, random: Random
) -> None:
    workloads = [Workload(Target.of(cluster.cluster.view.cluster.rest, key), random) for key in requests_by_key]
    expected = [
        await workload.expected_responses(requests)
        for workload, requests in zip(workloads, requests_by_key.values(), strict=True)
    ]

    def enough() -> bool:
        return sum(len(workload.log) for workload in workloads) >= run.requests

    meanwhile = asyncio.create_task(wait_until(enough, description="all requests were sent", timeout=TIMEOUT_S))
    async with asyncio.TaskGroup() as group:
        for workload, requests in zip(workloads, requests_by_key.values(), strict=True):
            group.create_task(workload.closed_loop(partial(random.choice, requests), OPEN, meanwhile))
    for workload, responses in zip(workloads, expected, strict=True):
        workload.close()
        for log in workload.log:
            wrong = log.error or mismatch(log.response, responses[log.request])
            run.violations += [f"{log.request}: {wrong}"] if wrong or log.status != 200 else []
    run.requests = sum(len(workload.log) for workload in workloads)


def _requests(tenant: str, canaries: Canaries) -> list[Request]:
    mark = canaries.secrets[f"prompts of {tenant}"] = f"marked-{tenant}-{secrets.token_hex(8)}"
    streamed = {"stream": True, "stream_options": {"include_usage": True}}
    shapes = itertools.cycle([streamed, {}])
    return [
        chat(f"Number {number} of {mark}", max_tokens=5 + number, ignore_eos=True, user=mark, **next(shapes))
        for number in range(REQUESTS)
    ]


# ---- caches are not shared


async def _caches(cluster: ClusterWithDatabase, keys: list[str]) -> list[str]:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "tide " * LONG}], "max_tokens": 1}
    first, other = keys
    cached = [await _cached(cluster, key, body) for key in (first, first, other, other)]
    if cached[1] and cached[3] and not cached[0] and not cached[2]:
        return []
    return [f"cached tokens of one prompt, sent twice by each tenant: {cached}"]


async def _cached(cluster: ClusterWithDatabase, key: str, body: dict[str, Any]) -> int:
    async with httpx.AsyncClient(timeout=30) as http:
        response = await http.post(
            f"{cluster.cluster.view.cluster.rest}/chat/completions", json=body, headers=_bearer(key)
        )
    return int(response.raise_for_status().json()["usage"]["prompt_tokens_details"]["cached_tokens"])


# ---- what makes processes write errors


async def _stop_for_a_moment(database: Postgres) -> None:
    """The database goes away for a moment: the errors of its driver name its address."""
    await asyncio.to_thread(database.stop)
    await asyncio.sleep(1.0)
    await asyncio.to_thread(database.start)


async def _invalid(cluster: ClusterWithDatabase, keys: list[str], canaries: Canaries) -> None:
    """Invalid requests, with secrets in every place that an error message might repeat."""
    marks = [secret for name, secret in canaries.secrets.items() if name.startswith("prompts")]
    base = cluster.cluster.view.cluster.rest
    async with httpx.AsyncClient(timeout=30) as http:
        for key, mark in itertools.product(keys, marks):
            for body in _invalid_bodies(mark):
                response = await http.post(f"{base}/chat/completions", content=body, headers=_bearer(key))
                assert response.status_code in (400, 404, 415), response.text
                canaries.errors.append(response.text)
            unauthenticated = await http.post(f"{base}/chat/completions", headers=_bearer(key + "x"), json={})
            assert unauthenticated.status_code in (401, 503), unauthenticated.text
            canaries.errors.append(unauthenticated.text)


def _invalid_bodies(mark: str) -> list[str]:
    messages = f'[{{"role": "user", "content": "{mark}"}}]'
    return [
        f'{{"model": "tide", "messages": {messages}, "max_tokens": "{mark}"}}',
        f'{{"model": "tide", "messages": {messages}, "temperature": 9}}',
        f'{{"model": "tide", "messages": [{{"role": "{mark}", "content": "{mark}"}}]}}',
        f'{{"model": "tide", "messages": {messages}, "response_format": {{"type": "{mark}"}}}}',
        f'{{"model": "nobody", "messages": {messages}}}',
        f'{{"model": "tide", "messages": {messages}',
    ]


def _bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}", "content-type": "application/json"}
