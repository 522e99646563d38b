"""What operators see and do: the command line, and metrics."""

import asyncio
import json
import sys
from typing import Any

import httpx

from services.router.app import RouterApp
from tests.support.peers import gateway, worker
from tests.support.wait import wait_until
from tidegate.router.v1 import router_pb2 as pb

Routers = tuple[RouterApp, RouterApp]


async def tidegate(*words: str) -> tuple[int, str]:
    """Exit status, and what was said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.cli", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def document(*words: str) -> Any:
    status, said = await tidegate(*words, "--json")
    assert status == 0, said
    return json.loads(said)


async def test_the_queue_is_shown_and_its_rules_are_changed(routers: Routers) -> None:
    address = routers[0].address
    async with worker(address), gateway(address) as one:
        await one.submit("running", cost=pb.Cost(prompt_tokens=30))
        assert await one.granted() == "running"
        await one.submit("waiting", cost=pb.Cost(prompt_tokens=70))
        await one.next("queued")
        (pool,) = await document("queue", "--router", address)
        default = next(c for c in pool["classes"] if c["service_class"] == "default")
        assert (default["queued"], default["queued_tokens"], default["running"]) == (1, 70, 1)

        rules = ("--max-queued", "1", "--ageing", "2m", "--preemptible")
        policy = await document("queue", "set", "tide", "default", *rules, "--router", routers[1].address)
        assert (policy["max_queued"], policy["ageing_ms"], policy["preemptible"]) == (1, 120_000, True)
        await wait_until(lambda: is_full(one), description="the other replica follows")
        status, table = await tidegate("queue", "rules", "--router", address)
        assert status == 0
        assert "2m" in table
        assert "yields" in table

    status, said = await tidegate("queue", "set", "tide", "default", "--router", address)
    assert status == 2
    assert "at least one rule" in said
    status, said = await tidegate("queue", "set", "nowhere", "default", "--ageing", "1s", "--router", address)
    assert status == 1
    assert "no pool 'nowhere'" in said


async def is_full(one: Any) -> bool:
    await one.submit("one-more")
    frame = await asyncio.wait_for(one.mailbox.get(), 20)
    if frame.WhichOneof("frame") == "queued":
        await one.finish("one-more")
    return bool(frame.WhichOneof("frame") == "reject")


async def test_a_worker_is_drained_by_name(routers: Routers) -> None:
    address = routers[0].address
    async with worker(address) as peer:
        (shown,) = await document("workers", "--router", address)
        assert (shown["id"], shown["slots"], shown["version"]) == ("w1", 1, "v1")
        assert 0 <= shown["heartbeat_age_ms"] < 5_000
        status, said = await tidegate("workers", "drain", "w1", "--timeout", "3s", "--router", routers[1].address)
        assert status == 0, said
        asked = await peer.read()
        assert asked.drain.timeout_ms == 3_000
        status, said = await tidegate("workers", "drain", "w2", "--router", address)
        assert status == 1
        assert "there are: w1" in said


async def test_waits_are_measured_where_the_gateway_is(routers: Routers) -> None:
    """A grant that another replica's script made reaches its gateway through the outbox, and counts there."""
    async with worker(routers[0].address), gateway(routers[0].address) as first, gateway(routers[1].address) as second:
        await first.submit("running")
        assert await first.granted() == "running"
        await second.submit("waiting", "priority")
        await second.next("queued")
        await first.finish("running")
        assert await second.granted() == "waiting"
        text = await metrics(routers[1])
    assert 'tidegate_router_wait_seconds_count{pool="tide",service_class="priority"} 1.0' in text


async def test_redis_tells_what_scripts_cost(routers: Routers) -> None:
    async def told() -> bool:
        return 'tidegate_router_redis_script_quantile_seconds{pool="tide",quantile="0.99"}' in await metrics(routers[0])

    await wait_until(told, description="the router has read Redis' statistics", every=0.2)
    assert 'tidegate_router_answers_total{answer="poison",pool="tide"' not in await metrics(routers[0])
    async with gateway(routers[0].address) as one:
        await one.submit("r1", engine_deaths=2)
        await one.next("reject")
    assert 'answer="poison",pool="tide",service_class="default"} 1.0' in await metrics(routers[0])


async def metrics(router: RouterApp) -> str:
    async with httpx.AsyncClient() as http:
        return (await http.get(f"http://{router.http_address}/metrics")).text
