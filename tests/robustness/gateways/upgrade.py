"""Runs scripts/upgrade.sh under load. What it has docker compose replace is restarted here."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

from tests.deploy.installation import Installation
from tests.robustness.gateways.drill import GAP_S, GATEWAYS, Balanced, requests
from tests.robustness.invariant_checker import InjectedFault, Run
from tests.robustness.leak_checker import leaks
from tests.robustness.workload import Workload
from tests.support.wait import wait_until

Handler = Callable[[list[str]], Awaitable[int]]
READY_S = 60.0
REPLACED = (
    "router-1",
    "router-2",
    "gateway-1",
    "gateway-2",
    "worker-cpu",
    "trainer-cpu",
    "prometheus",
    "grafana",
)
"""What it replaces on a CPU, in this order. Routers and gateways are restarted here."""


async def upgrade(balanced: Balanced, folder: Path, *, streams: int, seed: int) -> Run:
    """Upgrades once while `streams` requests are always open. `folder` is empty."""
    random, choices = Random(seed), requests()
    # The cluster's own gateway does not linger before its first restart.
    await balanced.restart(GATEWAYS[0])
    workload = Workload(balanced.target, random)
    faults: list[InjectedFault] = []

    async def replace(arguments: list[str]) -> int:
        service = arguments[-1]
        if service.startswith("gateway-"):
            name = GATEWAYS[int(service.removeprefix("gateway-")) - 1]
            faults.append(InjectedFault("restarted", name, workload.now_s(), GAP_S))
            await balanced.restart(name)
        elif service.startswith("router-"):
            routers = balanced.cluster.injector.named("router")
            name = routers[int(service.removeprefix("router-")) - 1]
            faults.append(InjectedFault("restarted", name, workload.now_s(), GAP_S))
            await restart_router(balanced, name)
        return 0

    try:
        expected = await workload.expected_responses(choices)
        async with answering(replace, folder) as socket:
            installation = Installation.make(folder, {}, socket)
            running = asyncio.create_task(asyncio.to_thread(installation.script, "upgrade.sh"))
            await workload.closed_loop(lambda: random.choice(choices), streams, running)
        done = running.result()
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        workload.close()
    assert [call[-1] for call in installation.calls()] == ["build", *REPLACED]
    return Run(workload.log, expected, faults, 0, await leaks(balanced.cluster.view))


async def restart_router(balanced: Balanced, name: str) -> None:
    await asyncio.to_thread(balanced.cluster.injector.stop, name)
    balanced.cluster.injector.start(name)

    async def ready() -> bool:
        return await balanced.cluster.view.ready([name]) == [name]

    await wait_until(ready, description=f"{name} is ready", timeout=READY_S)


@asynccontextmanager
async def answering(handle: Handler, folder: Path) -> AsyncIterator[Path]:
    """A socket for the stand-in of docker: `handle` gives each call its exit status."""
    path = folder / "docker.sock"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        status = await handle(json.loads(await reader.readline()))
        writer.write(f"{status}\n".encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_unix_server(serve, path):
        yield path
