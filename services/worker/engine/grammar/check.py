"""Checks in a helper process that a grammar compiles within limits, before the engine sees it.

An engine that compiles a grammar for a minute answers nobody meanwhile, and nothing can interrupt it.
"""

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import sys
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from services.worker.engine.contract import EngineError, InvalidPrompt

log = logging.getLogger(__name__)

MAX_KNOWN = 1024
# Longer than the helper needs for one grammar. Its start on a busy machine takes longest.
ANSWER_S = 120.0
# A killed process is gone at once, unless the system has a problem.
END_S = 10.0
TRIES = 2
HELPER = "services.worker.engine.grammar.helper"
# One thread only, so that the helper takes little CPU from the engine.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
# The helper reads text from clients, so it gets no secrets: only the variables that Python needs to start.
_INHERITED = ("PATH", "HOME", "LANG", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "LD_LIBRARY_PATH")


@dataclass(frozen=True, slots=True)
class Grammar:
    """A grammar for the engine: JSON schema, regular expression, EBNF grammar, or structural tag in JSON."""

    kind: Literal["json", "regex", "grammar", "structural_tag"]
    text: str

    @property
    def digest(self) -> bytes:
        """SHA-256 of kind and text, by which the result is remembered."""
        return hashlib.sha256(f"{self.kind}:{self.text}".encode()).digest()


class GrammarCheck:
    """Asks one helper process about one grammar at a time.

    Waiting requests use slots of the engine, so only a few wait here.
    """

    def __init__(self, folder: Path, vocab_size: int) -> None:
        """Prepares the helper for the tokenizer in the model's `folder`; `start` starts it."""
        self._arguments = ("-m", HELPER, str(folder), str(vocab_size), str(os.getpid()))
        self._lock = asyncio.Lock()
        self._problems: OrderedDict[bytes, str] = OrderedDict()
        self._helper: asyncio.subprocess.Process | None = None
        self.asked = 0

    async def check(self, grammar: Grammar, param: str) -> None:
        """Checks a grammar; a known one needs no helper.

        Raises:
            InvalidPrompt: The grammar does not compile; the error names `param`.
            EngineError: The helper failed.
        """
        problem = self._problems.get(grammar.digest)
        if problem is None:
            problem = await self._problem_of(grammar)
        if problem:
            raise InvalidPrompt(f"Invalid value for '{param}': {problem}.", param)

    async def start(self) -> None:
        """Starts the helper process, so that the first request need not wait for it."""
        await self._running()

    async def stop(self) -> None:
        """Kills the helper process and waits for its end."""
        helper, self._helper = self._helper, None
        if helper and helper.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                helper.kill()
            try:
                async with asyncio.timeout(END_S):
                    await helper.wait()
            except TimeoutError:
                log.warning("the grammar helper, pid %d, was killed and is still there", helper.pid)

    async def _problem_of(self, grammar: Grammar) -> str:
        """Asks the helper, unless another request has asked about the same grammar meanwhile."""
        async with self._lock:
            if (problem := self._problems.get(grammar.digest)) is None:
                problem = await self._ask(grammar)
                self._remember(grammar.digest, problem)
            return problem

    def _remember(self, digest: bytes, problem: str) -> None:
        self._problems[digest] = problem
        while len(self._problems) > MAX_KNOWN:
            self._problems.popitem(last=False)

    async def _ask(self, grammar: Grammar) -> str:
        self.asked += 1
        for _ in range(TRIES):
            try:
                async with asyncio.timeout(ANSWER_S):
                    return await self._reply(grammar)
            except (TimeoutError, OSError, ValueError) as error:
                log.error("the grammar helper failed: %r", error)
                await self.stop()
        raise EngineError("the grammar of the answer could not be checked")

    async def _reply(self, grammar: Grammar) -> str:
        """Skips replies to requests that were cancelled. Raises OSError when the helper has ended."""
        requests, replies = await self._running()
        requests.write(json.dumps({"id": self.asked, "kind": grammar.kind, "text": grammar.text}).encode() + b"\n")
        await requests.drain()
        while line := await replies.readline():
            reply = json.loads(line)
            if reply["id"] == self.asked:
                return str(reply["problem"])
        raise BrokenPipeError("it has ended")

    async def _running(self) -> tuple[asyncio.StreamWriter, asyncio.StreamReader]:
        helper = self._helper
        if helper is None or helper.returncode is not None:
            # The helper stays in the worker's session. Linux divides CPU time between sessions first, and the import of
            # torch visits every core. A helper in another session waited minutes on a core that an engine is bound to.
            helper = self._helper = await asyncio.create_subprocess_exec(
                sys.executable,
                *self._arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={name: os.environ[name] for name in _INHERITED if name in os.environ} | _ENVIRONMENT,
            )
        if helper.stdin is None or helper.stdout is None:
            raise BrokenPipeError("it has no pipes")
        return helper.stdin, helper.stdout
