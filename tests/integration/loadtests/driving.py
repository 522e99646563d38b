"""Runs a profile against a server in this process."""

import asyncio
from typing import Any

from loadtests.client import Client
from loadtests.plan import Plan
from loadtests.runner import Runner, Stopwatch
from loadtests.sample import Sample
from services.shared.clock import SystemClock
from tests.integration.loadtests.server import Behaviour, Server, serving
from tests.unit.loadtests.samples import profile

ONE = {"process": "constant", "rate": 1}


async def drive(behave: Behaviour, **changes: Any) -> tuple[list[Sample], Server, Client]:
    """By default one request."""
    wanted = profile(**({"arrivals": ONE, "duration_s": 1, "timeout_s": 5} | changes))
    watch = Stopwatch(SystemClock())
    async with serving(behave) as server:
        client = Client(server.target, watch.now_s, wanted.timeout_s)
        samples = await Runner(wanted, server.target, "tide", client, watch).run(Plan(wanted), asyncio.Event())
        client.close()
    return samples, server, client
