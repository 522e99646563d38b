"""One run from profile to report: finds the model, sends the load, computes the figures."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
from rich.console import Console

from loadtests import events, progress
from loadtests.ask import ask
from loadtests.client import Client
from loadtests.plan import Plan
from loadtests.profile import Profile
from loadtests.report import ClientCost, Report, report
from loadtests.runner import Runner, Stopwatch
from loadtests.sample import Sample
from loadtests.target import MODELS, Target
from services.shared.clock import Clock

ASK_TIMEOUT_S = 10.0


class CannotRun(Exception):
    """The server cannot be used at all; nothing was measured."""


@dataclass(frozen=True, slots=True)
class Run:
    """The report of a run and the samples behind it."""

    report: Report
    samples: Sequence[Sample]


async def run(
    profile: Profile,
    target: Target,
    model: str | None,
    clock: Clock,
    console: Console,
    stop: asyncio.Event,
    *,
    data_dir: Path,
) -> Run:
    """Runs a profile.

    Args:
        profile: The load.
        target: The server.
        model: Name of the model; None for the first one that the server lists.
        clock: Paces the run.
        console: Shows the progress.
        stop: Ends the run early: nothing more is sent, and running requests are waited for.
        data_dir: Data folder of the local cluster, on which the profile's events act.

    Raises:
        CannotRun: The server cannot be used.
        EventFailed: An event of the profile failed.
    """
    served = await served_models(target)
    name = _chosen(model, served)
    watch = Stopwatch(clock)
    client = Client(target, watch.now_s, profile.timeout_s)
    plan = Plan(profile)
    runner = Runner(profile, target, name, client, watch)
    started, cpu_before = clock.wall(), time.process_time()
    watch.restart()
    shown = asyncio.create_task(progress.show(console, profile.name, profile.duration_s, runner.tally, watch))
    due = [event for event in profile.events if event.at_s < profile.duration_s]
    running_events = asyncio.create_task(events.run_events(due, data_dir, watch.now_s, stop))
    try:
        samples = await runner.run(plan, stop)
        if not stop.is_set() or running_events.done():
            await running_events
    finally:
        running_events.cancel()
        shown.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await shown
        client.close()
    cost = _cost(time.process_time() - cpu_before, samples, client)
    found = report(
        samples, profile, cost, base_url=target.base_url, model=name, started=started, stopped_early=stop.is_set()
    )
    return Run(found, samples)


def _cost(cpu_s: float, samples: Sequence[Sample], client: Client) -> ClientCost:
    events = sum(len(sample.token_times) for sample in samples)
    return ClientCost(
        cpu_s=cpu_s,
        cpu_us_per_event=1e6 * cpu_s / events if events else None,
        connections=client.connections,
        resent=client.resent,
    )


def _chosen(model: str | None, served: list[str]) -> str:
    if model is None and not served:
        raise CannotRun("the server serves no model yet")
    if model is not None and served and model not in served:
        raise CannotRun(f"--model = {model!r}: the server has {', '.join(served)}")
    return model or served[0]


async def served_models(target: Target) -> list[str]:
    """The models that the server lists.

    Raises:
        CannotRun: The server cannot be reached, or did not answer with a list.
    """
    try:
        status, content = await ask(target, target.get(MODELS), ASK_TIMEOUT_S)
    except (OSError, TimeoutError) as error:
        raise CannotRun(f"{target.base_url} cannot be reached ({str(error) or 'no answer in time'})") from None
    if status != 200:
        raise CannotRun(f"{target.base_url}{MODELS} answered {status}: {content[:300]!r}")
    try:
        return [str(entry["id"]) for entry in orjson.loads(content)["data"]]
    except (orjson.JSONDecodeError, LookupError, TypeError):
        raise CannotRun(f"{target.base_url}{MODELS} is not OpenAI's list: {content[:300]!r}") from None
