"""One drill: a model of one kind is imported, served, brought to a second version under load, and rolled back."""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.robustness.architectures.answer import CACHE_GIB, RUNNING, TOKENS, Answer, Question, difference, questions
from tests.robustness.architectures.kinds import CONTEXT, Kind, make
from tests.robustness.architectures.seen import Seen, Way
from tests.support.cluster import REPOSITORY, UP_S, RunningCluster, running_cluster, tidegate
from tests.support.wait import wait_until

STREAMS = RUNNING
NEXT = "next"
"""The alias of the second version."""
_BETWEEN = 2 * STREAMS
"""Answers that streams get before each change of the weights, and after the last."""
_ENVIRONMENT = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
"""The engine runs in the process itself: the start is twice as quick."""
_MAX_TURNS = 100_000
_MAX_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was seen of one kind, and what was wrong; nothing, if all is well.

    `refused` is what `promote` said, where the worker kept its first version. That is no wrong answer, but no success
    either.
    """

    seen: Seen
    wrong: list[str]
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Worker:
    """The only worker: the version that it serves, how many golden prompts have proved it, and its process id."""

    version: str
    proved: int
    pid: int

    @property
    def fingerprint(self) -> str:
        """What the events of its streams call the version."""
        return f"fp_{self.version[:12]}"


@dataclass(frozen=True, slots=True)
class Case:
    """A kind, its two versions, what both are asked, and what vLLM alone answers with each."""

    kind: Kind
    folders: list[Path]
    asked: list[Question]
    expected: list[list[Answer]]


def prepare(kinds: Sequence[Kind], requests: int, seed: int, folder: Path) -> list[Case]:
    """Makes two versions of each kind and asks vLLM alone, which loads each of them afresh.

    Raises:
        AssertionError: vLLM failed, or two versions answer the same, so that nobody could tell them apart.
    """
    folders = [[make(kind, folder / kind.name / name, n) for n, name in enumerate((kind.name, NEXT))] for kind in kinds]
    asked = [questions(requests, seed, chats=kind.chats) for kind in kinds]
    tasks = [(each, given) for both, given in zip(folders, asked, strict=True) for each in both]
    answers = iter(reference(tasks, folder))
    cases = [Case(*each, [next(answers), next(answers)]) for each in zip(kinds, folders, asked, strict=True)]
    for case in cases:
        if any(first.token_ids == second.token_ids for first, second in zip(*case.expected, strict=True)):
            raise AssertionError(f"the two versions of {case.kind.name} give the same answer: change their seeds")
    return cases


def run(case: Case, home: Path) -> Verdict:
    """Runs the drill of one kind. `home` is the folder of its cluster, which is made."""
    home.mkdir()
    with running_cluster(home, config(case.kind), "--model", str(case.folders[0])) as cluster:
        return asyncio.run(_Drill(case.kind, cluster, case.asked, case.expected).run(case.folders[1]))


def config(kind: Kind) -> str:
    """The configuration of a cluster with one worker of this kind. Requests wait until a new process has started."""
    engine = f"kind: vllm, dtype: float32, context_tokens: {CONTEXT}, kv_memory_gib: {CACHE_GIB}"
    updates = f"weight_updates: {{hold_s: {UP_S}}}"  # each answer is of one version
    pool = f"{{name: {kind.name}, model: {kind.name}, engine: {{{engine}, max_running: {RUNNING}}}, {updates}}}"
    return f"pools: [{pool}]\nclasses: {{default: {{max_wait_s: {UP_S}}}}}"


def reference(tasks: Sequence[tuple[Path, Sequence[Question]]], folder: Path) -> list[list[Answer]]:
    """What vLLM answers by itself with each model, in a process without Tidegate."""
    given, answers = folder / "tasks.json", folder / "answers.json"
    given.write_text(
        json.dumps([{"folder": str(model), "questions": list(map(asdict, asked))} for model, asked in tasks])
    )
    command = [sys.executable, "-m", "tests.robustness.architectures.reference", str(given), str(answers)]
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, **_ENVIRONMENT},
        capture_output=True,
        text=True,
        timeout=len(tasks) * UP_S,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"vLLM alone did not answer: {done.stdout[-3000:]}{done.stderr[-3000:]}")
    return [[Answer(**each) for each in of_model] for of_model in json.loads(answers.read_text())]


@dataclass(slots=True)
class _Load:
    """Streams that never cease: what they got in the order in which they ended, and what failed."""

    said: list[tuple[int, str, Answer]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


class _Drill:
    """The part of the drill for which the cluster runs."""

    def __init__(
        self, kind: Kind, cluster: RunningCluster, asked: Sequence[Question], expected: Sequence[Sequence[Answer]]
    ) -> None:
        self._kind, self._cluster, self._asked, self._expected = kind, cluster, asked, expected
        self._wrong: list[str] = []

    async def run(self, second: Path) -> Verdict:
        async with self._client() as http:
            same = await self._compare(http)
            old = await self._worker()
            await self._command("models", "import", str(second), "--name", self._kind.name, "--alias", NEXT)
            async with self._load(http) as load:
                await self._more(load)
                reason = await self._command("models", "promote", self._kind.name, NEXT, may_fail=True)
                new = await self._worker()
                changed = new.version != old.version
                await self._more(load)
                if changed:
                    await self._command("models", "rollback", self._kind.name)
                    await self._more(load)
            last = await self._worker()
        if last.version != old.version:
            self._wrong.append("not rolled back")
        self._check(load, [old.fingerprint, new.fingerprint])
        counts = Counter(version for _, version, _ in load.said)
        seen = Seen(
            kind=self._kind.name,
            architecture=self._kind.architecture,
            asked=len(self._asked),
            same=same,
            golden=min(old.proved, new.proved),
            way=_way(old, new, last),
            streams=len(load.said),
            of_second=counts[new.fingerprint] if changed else 0,
        )
        return Verdict(seen, self._wrong, "" if changed else reason)

    async def _compare(self, http: httpx.AsyncClient) -> int:
        """Asks all questions at once, not streamed. Returns how many answers are vLLM's own."""
        given = await asyncio.gather(*(_ask(http, self._kind.name, question) for question in self._asked))
        said = [difference(*pair) for pair in zip(self._expected[0], given, strict=True)]
        self._wrong += [each for each in said if each]
        return said.count(None)

    def _check(self, load: _Load, versions: list[str]) -> None:
        self._wrong += load.failures[:_MAX_SHOWN]
        mixed = []
        for number, version, answer in load.said:
            if version not in versions:
                mixed.append(f"unknown version {version}")
            elif said := difference(self._expected[versions.index(version)][number], answer):
                mixed.append(f"stream of version {versions.index(version)}: {said}")
        self._wrong += mixed[:_MAX_SHOWN]
        if len(mixed) > _MAX_SHOWN:
            self._wrong.append(f"and {len(mixed) - _MAX_SHOWN} more of {len(load.said)} streams")

    @asynccontextmanager
    async def _load(self, http: httpx.AsyncClient) -> AsyncIterator[_Load]:
        """Streams that run while the block does. The last answer of each is awaited, so that none is cut off."""
        load, stop = _Load(), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for number in range(STREAMS):
                group.create_task(self._stream(http, number, load, stop))
            try:
                yield load
            finally:
                stop.set()

    async def _stream(self, http: httpx.AsyncClient, first: int, load: _Load, stop: asyncio.Event) -> None:
        for turn in range(_MAX_TURNS):
            if stop.is_set():
                return
            number = (first + turn) % len(self._asked)
            try:
                load.said.append((number, *await _stream(http, self._kind.name, self._asked[number])))
            except (httpx.HTTPError, AssertionError) as error:
                load.failures.append(f"stream: {type(error).__name__}: {error}")

    async def _more(self, load: _Load) -> None:
        enough = len(load.said) + _BETWEEN
        await wait_until(
            lambda: len(load.said) >= enough or load.failures, description="more streams have ended", timeout=UP_S
        )

    async def _worker(self) -> Worker:
        (worker,) = json.loads(await self._command("workers", "list", "--json"))
        return Worker(worker["version"], worker["golden_prompts_proved"], worker["pid"])

    async def _command(self, *arguments: str, may_fail: bool = False) -> str:
        """Runs a `tidegate` command beside the load, and returns what it says."""
        done = await asyncio.to_thread(tidegate, self._cluster.folder, *arguments)
        said = " ".join((done.stdout + done.stderr).split())
        if done.returncode and not may_fail:
            raise AssertionError(f"tidegate {' '.join(arguments)}: {said}")
        return said

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx.AsyncClient]:
        headers = {"authorization": f"Bearer {self._cluster.key}"}
        async with httpx.AsyncClient(base_url=f"{self._cluster.rest}/", headers=headers, timeout=UP_S) as http:
            yield http


def _way(old: Worker, new: Worker, last: Worker) -> Way:
    """How the second version came and went."""
    if new.version == old.version:
        return Way.NONE
    return Way.IN_PLACE if old.pid == new.pid == last.pid else Way.REPLACED


def _request(model: str, question: Question, *, stream: bool) -> tuple[str, dict[str, Any]]:
    body = {
        "model": model,
        "max_tokens": TOKENS,
        "temperature": 0,
        "ignore_eos": True,
        "return_token_ids": True,
        "stream": stream,
    }
    if question.chat:
        return "chat/completions", {**body, "messages": [{"role": "user", "content": question.text}]}
    return "completions", {**body, "prompt": question.text}


async def _ask(http: httpx.AsyncClient, model: str, question: Question) -> Answer:
    path, body = _request(model, question, stream=False)
    response = await http.post(path, json=body)
    if response.status_code != httpx.codes.OK:
        raise AssertionError(f"{response.status_code}: {response.text}")
    return _joined([response.json()], chat=question.chat)


async def _stream(http: httpx.AsyncClient, model: str, question: Question) -> tuple[str, Answer]:
    """Version and content of a streamed answer, which must end as it should.

    The events name the version. The header cannot, once the client has been told its position in the queue.
    """
    path, body = _request(model, question, stream=True)
    async with http.stream("POST", path, json=body) as response:
        lines = [line async for line in response.aiter_lines() if line and not line.startswith(":")]
    if response.status_code != httpx.codes.OK or lines[-1] != "data: [DONE]":
        raise AssertionError(f"{response.status_code}: {lines[-1:]}")
    events = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    return events[0]["system_fingerprint"], _joined(events, chat=question.chat)


def _joined(documents: Sequence[dict[str, Any]], *, chat: bool) -> Answer:
    """The answer in one document, or in the events of a stream."""
    answer = Answer([], [], "")
    for document in documents:
        for choice in document["choices"]:
            text = (choice.get("message") or choice.get("delta") or {}).get("content") if chat else choice.get("text")
            prompt = document.get("prompt_token_ids") or choice.get("prompt_token_ids") or answer.prompt_token_ids
            answer = Answer(prompt, answer.token_ids + (choice.get("token_ids") or []), answer.text + (text or ""))
    return answer
