"""A study of precisions: each model gets the same text and load; what does not run has a row with the reason."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest
import yaml
from rich.console import Console

from loadtests.load import CannotRun
from loadtests.precisions.choice import Choice
from loadtests.precisions.cluster import DoesNotRun
from loadtests.precisions.study import Study, study
from loadtests.profile import Profile
from loadtests.target import Target
from services.shared.clock import SystemClock
from services.shared.held_out import passages
from tests.integration.loadtests.server import Exchange, right
from tests.integration.loadtests.server import serving as listening
from tests.unit.loadtests.samples import profile

LOGPROBS = [None, -1.0, -3.0]


async def answer(exchange: Exchange) -> None:
    """What a right server says to a chat, and to a prompt that is to be echoed."""
    if "prompt" in exchange.body:
        choice = {"text": exchange.body["prompt"], "logprobs": {"token_logprobs": LOGPROBS}}
        exchange.whole(200, orjson.dumps({"choices": [choice]}))
    else:
        await right(exchange)


async def tell_nothing(exchange: Exchange) -> None:
    exchange.whole(200, orjson.dumps({"choices": [{"text": "", "logprobs": None}]}))


@dataclass
class FakeCluster:
    """Serves every model alike, but for those that do not run."""

    target: Target
    broken: str = ""
    imported: list[tuple[str, str]] = field(default_factory=list)
    configs: list[str] = field(default_factory=list)
    data_dir: Path = Path("none")

    async def import_models(self, sources: Iterable[tuple[str, str]]) -> None:
        self.imported += sources

    @asynccontextmanager
    async def running(self, config: str) -> AsyncIterator[Target]:
        (pool,) = yaml.safe_load(config)["pools"]
        if pool["name"] == self.broken:
            raise DoesNotRun("no kernel")
        self.configs.append(pool["name"])
        yield self.target

    async def peak_bytes(self) -> int:
        return 1 << 30


def load() -> Profile:
    return profile(arrivals={"process": "constant", "rate": 20}, duration_s=0.5)


async def studied(cluster: FakeCluster, *choices: Choice) -> Study:
    return await study(choices, load(), cluster, SystemClock(), Console(stderr=True), asyncio.Event())


async def test_each_model_is_measured_and_one_that_does_not_run_has_the_reason() -> None:
    async with listening(answer) as server:
        cluster = FakeCluster(server.target, broken="int4")
        # The server lists one model, called tide.
        found = await studied(cluster, Choice("int4", "folder-4"), Choice("tide", "folder", {"dtype": "float32"}))
    assert cluster.imported == [("int4", "folder-4"), ("tide", "folder")]
    assert cluster.configs == ["tide"]
    broken, whole = found.rows
    assert (broken.measured, broken.reason) == (None, "no kernel")
    assert whole.measured
    assert (whole.measured.held_out_loss, whole.measured.held_out_tokens) == (2.0, 2 * len(passages()))
    assert whole.measured.peak_bytes == 1 << 30
    assert whole.measured.total.outcomes == {"ok": whole.measured.total.due}
    asked = [request["prompt"] for request in server.requests if "prompt" in request]
    assert asked == passages()


async def test_a_server_that_tells_no_log_probabilities_cannot_be_measured() -> None:
    async with listening(tell_nothing) as server:
        with pytest.raises(CannotRun, match="no log probabilities of the prompt"):
            await studied(FakeCluster(server.target), Choice("tide", "folder"))
