"""One drill: workers of two nodes answer as a worker of one does, while weights change and a follower is killed."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx
import psutil

from services.local.cluster_record import ProcessRecord
from tests.support.cluster import UP_S, RunningCluster, tidegate
from tests.support.processes import is_gone
from tests.support.wait import wait_until

WHOLE, GROUP = "whole", "group"
"""A pool whose worker has one node, and one whose workers have two."""
NEXT = "next"
STREAMS = 6
_MAX_TURNS = 100_000
_WORDS = ("tide", "moon", "harbour", "lantern", "Ebbe", "blue", "7", "the")
_LENGTH = 8


@dataclass(frozen=True, slots=True)
class Setup:
    """What the drill runs on.

    Attributes:
        engine: Settings of the engine, as YAML.
        split: Further settings of the engine on two nodes.
        model: Name in the registry.
        second: Source of the second version.
        tokens: Tokens of each answer.
        golden: Whether the versions have golden prompts.
        workers: Workers of two nodes. Streams of a lost one go on at another; with one worker they wait for it.
        options: Of `tidegate up`.
    """

    engine: str
    split: str
    model: str
    second: str
    tokens: int
    golden: bool
    workers: int = 2
    options: tuple[str, ...] = ()

    @property
    def config(self) -> str:
        """The configuration of the cluster."""
        return (
            f"pools: [{{name: {WHOLE}, model: {self.model}, engine: {{{self.engine}}}}},"
            f" {{name: {GROUP}, model: {self.model}, workers: {self.workers}, weight_updates: {{hold_s: {UP_S}}},"
            f" engine: {{{self.engine}, nodes: 2{self.split}}}}}]\n"
            f"classes: {{default: {{max_wait_s: {UP_S}}}}}"
        )


SIMULATED = Setup("kind: simulated, step_ms: 5, swap_ms: 100", "", "simulated", "simulated:2", 60, golden=False)


@dataclass(slots=True)
class Load:
    """Streams that never cease: what they got in the order in which they ended, and what failed."""

    said: list[tuple[str, str, str]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Report:
    """What was seen, and what was wrong; nothing, if all is well.

    Attributes:
        same: Answers of the group that were those of one node.
        asked: How many were compared.
        streams: Streams that ended while weights changed and a follower died.
        of_second: Those of the second version.
        proved: Golden prompts that the second version answered right on the group.
        recovery_s: Seconds from the loss of a follower until both workers took requests again.
        violations: What was wrong.
    """

    same: int
    asked: int
    streams: int
    of_second: int
    proved: int
    recovery_s: float
    violations: list[str]


def prompts(count: int, seed: int) -> list[str]:
    """Different prompts."""
    random = Random(seed)
    return [f"{number} {' '.join(random.choices(_WORDS, k=random.randint(1, _LENGTH)))}" for number in range(count)]


async def drill(cluster: RunningCluster, setup: Setup, asked: Sequence[str], seed: int) -> Report:
    """Runs the drill on a cluster with the configuration of the setup."""
    async with _client(cluster) as http:
        return await _Drill(cluster, http, setup, asked, Random(seed)).run()


class _Drill:
    def __init__(
        self, cluster: RunningCluster, http: httpx.AsyncClient, setup: Setup, asked: Sequence[str], random: Random
    ) -> None:
        self._cluster, self._http, self._setup, self._asked, self._random = cluster, http, setup, asked, random
        self._expected: dict[str, dict[str, str]] = {}
        self._wrong: list[str] = []

    async def run(self) -> Report:
        await self._learn()
        same = await self._compare()
        await self._command("models", "import", self._setup.second, "--name", self._setup.model, "--alias", NEXT)
        async with self._load() as load:
            await self._more(load)
            await self._command("models", "promote", self._setup.model, NEXT)
            await self._learn()
            proved = await self._proved()
            await self._more(load)
            recovery_s = await self._lose_a_follower()
            await self._more(load)
        same += await self._compare()
        return self._report(load, same, proved, recovery_s)

    async def _learn(self) -> None:
        """Notes what the worker of one node answers with the version that it serves now."""
        answers = await asyncio.gather(*(self._ask(WHOLE, prompt) for prompt in self._asked))
        self._expected |= {
            answers[0][0]: {prompt: text for prompt, (_, text) in zip(self._asked, answers, strict=True)}
        }

    async def _compare(self) -> int:
        """Asks the group all prompts. Returns how many answers are those of one node."""
        said = await asyncio.gather(*(self._ask(GROUP, prompt) for prompt in self._asked))
        wrong = [
            each
            for prompt, (version, text) in zip(self._asked, said, strict=True)
            if (each := self._difference(prompt, version, text))
        ]
        self._wrong += wrong
        return len(self._asked) - len(wrong)

    def _difference(self, prompt: str, version: str, text: str) -> str | None:
        if version not in self._expected:
            return f"unknown version {version}"
        expected = self._expected[version][prompt]
        return None if text == expected else f"{prompt!r}: {text!r} and not {expected!r}"

    async def _lose_a_follower(self) -> float:
        """Kills a follower. Returns the seconds until its worker, replaced as a whole, takes requests again."""
        worker = f"worker-{self._random.randint(2, 1 + self._setup.workers)}"
        follower = f"{worker}-node-1"
        old = {name: self._process(name) for name in (worker, follower)}
        families = {name: _family(process) for name, process in old.items()}
        began = asyncio.get_running_loop().time()
        families[follower][0].kill()

        def replaced() -> bool:
            now = [self._process(name) for name in old]
            return all(each.pid not in (None, old[each.name].pid) and each.state == "running" for each in now)

        await wait_until(replaced, description="worker and follower run again", timeout=UP_S, every=0.1)
        await wait_until(lambda: self._serves(worker), description="the router has it back", timeout=UP_S, every=0.5)
        left = [process for family in families.values() for process in family if not is_gone(process)]
        if left:
            self._wrong.append(f"processes of the lost group that still run: {left}")
        return asyncio.get_running_loop().time() - began

    async def _serves(self, worker: str) -> bool:
        return any(each["id"] == worker and each["state"] == "ready" for each in await self._workers())

    async def _proved(self) -> int:
        """Golden prompts that every worker of the group answered right after its weights changed."""
        counts: list[int] = [each["golden_prompts_proved"] for each in await self._workers() if each["pool"] == GROUP]
        if self._setup.golden and not min(counts):
            self._wrong.append("the second version was not proved")
        return min(counts)

    async def _workers(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = json.loads(await self._command("workers", "list", "--json"))
        return listed

    def _process(self, name: str) -> ProcessRecord:
        (found,) = (process for process in self._cluster.record.processes if process.name == name)
        return found

    def _report(self, load: Load, same: int, proved: int, recovery_s: float) -> Report:
        first, second = self._expected
        mixed = [said for each in load.said if (said := self._difference(*each))]
        counted = [version for _, version, _ in load.said]
        if not (counted.count(first) and counted.count(second)):
            self._wrong.append("the streams did not see both versions")
        return Report(
            same=same,
            asked=2 * len(self._asked),
            streams=len(load.said),
            of_second=counted.count(second),
            proved=proved,
            recovery_s=recovery_s,
            violations=[*self._wrong, *load.failures, *mixed],
        )

    @asynccontextmanager
    async def _load(self) -> AsyncIterator[Load]:
        """Streams that run while the block does. The last answer of each is awaited, so that none is cut off."""
        load, stop = Load(), asyncio.Event()
        async with asyncio.TaskGroup() as together:
            for number in range(STREAMS):
                together.create_task(self._stream(number, load, stop))
            try:
                yield load
            finally:
                stop.set()

    async def _stream(self, first: int, load: Load, stop: asyncio.Event) -> None:
        for turn in range(_MAX_TURNS):
            if stop.is_set():
                return
            prompt = self._asked[(first + turn) % len(self._asked)]
            try:
                load.said.append((prompt, *await self._ask(GROUP, prompt)))
            except (httpx.HTTPError, AssertionError) as error:
                load.failures.append(f"stream: {type(error).__name__}: {error}")

    async def _more(self, load: Load) -> None:
        enough = len(load.said) + 2 * STREAMS
        await wait_until(
            lambda: len(load.said) >= enough or load.failures, description="more streams have ended", timeout=UP_S
        )

    async def _ask(self, pool: str, prompt: str) -> tuple[str, str]:
        """Fingerprint of the version, and text, of a streamed answer, which must end as it should."""
        body = {
            "model": pool,
            "prompt": prompt,
            "max_tokens": self._setup.tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
        }
        async with self._http.stream("POST", "completions", json=body) as response:
            lines = [line async for line in response.aiter_lines() if line]
        if response.status_code != httpx.codes.OK or lines[-1] != "data: [DONE]":
            raise AssertionError(f"{response.status_code}: {lines[-1:]}")
        # A stream that waits has comments.
        events = [json.loads(line.removeprefix("data: ")) for line in lines[:-1] if not line.startswith(":")]
        text = "".join(choice.get("text") or "" for event in events for choice in event["choices"])
        return events[0]["system_fingerprint"], text

    async def _command(self, *arguments: str) -> str:
        """Runs a `tidegate` command beside the load, and returns what it says."""
        done = await asyncio.to_thread(tidegate, self._cluster.folder, *arguments)
        if done.returncode:
            raise AssertionError(f"tidegate {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout


def _family(process: ProcessRecord) -> list[psutil.Process]:
    assert process.pid is not None
    leader = psutil.Process(process.pid)
    return [leader, *leader.children(recursive=True)]


@asynccontextmanager
async def _client(cluster: RunningCluster) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {cluster.key}"}
    async with httpx.AsyncClient(base_url=f"{cluster.rest}/", headers=headers, timeout=UP_S) as http:
        yield http
