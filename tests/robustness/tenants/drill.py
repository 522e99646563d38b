"""One run: two tenants at once, some of their requests wrong, the database away for a moment; then a look around."""

import asyncio
import itertools
import secrets
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

import httpx

from loadtests.target import Target
from tests.robustness.accounted import Accounted
from tests.robustness.answer import difference
from tests.robustness.question import MODEL, Question, chat
from tests.robustness.tenants.planted import Planted, places
from tests.robustness.traffic import Traffic
from tests.support.postgres import Postgres
from tests.support.wait import wait_until

TENANTS = ("harbour", "lighthouse")
QUESTIONS = 20
OPEN = 12
"""Requests of each tenant at any time."""
LONG = 200
"""Words: some blocks of the prefix cache."""
TIMEOUT_S = 300.0


@dataclass(slots=True)
class Run:
    requests: int
    complaints: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        shown = "".join(f"\n  {complaint}" for complaint in self.complaints[:12])
        return f"{self.requests} requests of {len(TENANTS)} tenants; {len(self.complaints)} complaints{shown}"


async def drill(there: Accounted, *, requests: int, seed: int) -> Run:
    random, planted, view = Random(seed), Planted(), there.arena.view
    planted.add_those_of(view)
    run = Run(requests)
    async with _admin(there) as admin:
        keys = {tenant: await _key(admin, tenant, planted) for tenant in TENANTS}
    asked = {keys[tenant]: _questions(tenant, planted) for tenant in TENANTS}
    run.complaints += await _caches(there, list(asked))
    async with asyncio.TaskGroup() as group:
        group.create_task(_interleave(there, asked, run, random))
        group.create_task(_blink(there.database))
        group.create_task(_wrong(there, list(asked), planted))
    run.complaints += planted.told(await places(there.arena) | {"an error": "\n".join(planted.errors)})
    return run


def _admin(there: Accounted) -> httpx.AsyncClient:
    cluster = there.arena.view.cluster
    headers = {"authorization": f"Bearer {cluster.variables['TIDEGATE_ADMIN_KEY']}"}
    return httpx.AsyncClient(base_url=f"{cluster.rest}/admin/", headers=headers, timeout=30)


async def _key(admin: httpx.AsyncClient, tenant: str, planted: Planted) -> str:
    (await admin.post("tenants", json={"name": tenant})).raise_for_status()
    made = await admin.post("keys", json={"name": tenant, "tenant": tenant})
    key = planted.secrets[f"key of {tenant}"] = str(made.raise_for_status().json()["key"])
    return key


# ---- every answer is its own


async def _interleave(there: Accounted, asked: dict[str, list[Question]], run: Run, random: Random) -> None:
    """asked: with which key."""
    traffics = [Traffic(Target.of(there.arena.view.cluster.rest, key), random) for key in asked]
    right = [await traffic.learn(questions) for traffic, questions in zip(traffics, asked.values(), strict=True)]

    def enough() -> bool:
        return sum(len(traffic.sent) for traffic in traffics) >= run.requests

    meanwhile = asyncio.create_task(wait_until(enough, description="all was asked", timeout=TIMEOUT_S))
    async with asyncio.TaskGroup() as group:
        for traffic, questions in zip(traffics, asked.values(), strict=True):
            group.create_task(traffic.always_open(partial(random.choice, questions), OPEN, meanwhile))
    for traffic, answers in zip(traffics, right, strict=True):
        traffic.close()
        for sent in traffic.sent:
            wrong = sent.trouble or difference(sent.answer, answers[sent.question])
            run.complaints += [f"{sent.question}: {wrong}"] if wrong or sent.status != 200 else []
    run.requests = sum(len(traffic.sent) for traffic in traffics)


def _questions(tenant: str, planted: Planted) -> list[Question]:
    mark = planted.secrets[f"prompts of {tenant}"] = f"marked-{tenant}-{secrets.token_hex(8)}"
    streamed = {"stream": True, "stream_options": {"include_usage": True}}
    shapes = itertools.cycle([streamed, {}])
    return [
        chat(f"Number {number} of {mark}", max_tokens=5 + number, ignore_eos=True, user=mark, **next(shapes))
        for number in range(QUESTIONS)
    ]


# ---- what one tenant asked is not in the other's cache


async def _caches(there: Accounted, keys: list[str]) -> list[str]:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "tide " * LONG}], "max_tokens": 1}
    first, other = keys
    cached = [await _cached(there, key, body) for key in (first, first, other, other)]
    if cached[1] and cached[3] and not cached[0] and not cached[2]:
        return []
    return [f"cached tokens of one prompt, asked twice by each tenant: {cached}"]


async def _cached(there: Accounted, key: str, body: dict[str, Any]) -> int:
    async with httpx.AsyncClient(timeout=30) as http:
        answer = await http.post(f"{there.arena.view.cluster.rest}/chat/completions", json=body, headers=_bearer(key))
    return int(answer.raise_for_status().json()["usage"]["prompt_tokens_details"]["cached_tokens"])


# ---- what makes processes talk


async def _blink(database: Postgres) -> None:
    """The database goes away: errors of its driver tell where it should be."""
    await asyncio.to_thread(database.stop)
    await asyncio.sleep(1.0)
    await asyncio.to_thread(database.start)


async def _wrong(there: Accounted, keys: list[str], planted: Planted) -> None:
    """Requests that are refused, with secrets in every place that an error might repeat."""
    marks = [secret for name, secret in planted.secrets.items() if name.startswith("prompts")]
    base = there.arena.view.cluster.rest
    async with httpx.AsyncClient(timeout=30) as http:
        for key, mark in itertools.product(keys, marks):
            for body in _wrong_bodies(mark):
                answer = await http.post(f"{base}/chat/completions", content=body, headers=_bearer(key))
                assert answer.status_code in (400, 404, 415), answer.text
                planted.errors.append(answer.text)
            stranger = await http.post(f"{base}/chat/completions", headers=_bearer(key + "x"), json={})
            assert stranger.status_code in (401, 503), stranger.text
            planted.errors.append(stranger.text)


def _wrong_bodies(mark: str) -> list[str]:
    said = f'[{{"role": "user", "content": "{mark}"}}]'
    return [
        f'{{"model": "tide", "messages": {said}, "max_tokens": "{mark}"}}',
        f'{{"model": "tide", "messages": {said}, "temperature": 9}}',
        f'{{"model": "tide", "messages": [{{"role": "{mark}", "content": "{mark}"}}]}}',
        f'{{"model": "tide", "messages": {said}, "response_format": {{"type": "{mark}"}}}}',
        f'{{"model": "nobody", "messages": {said}}}',
        f'{{"model": "tide", "messages": {said}',
    ]


def _bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}", "content-type": "application/json"}
