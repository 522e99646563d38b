"""Which forms of answers can be compiled in bounded time: asked of a process of its own, before the engine sees them.

An engine that compiles for a minute stands still for everybody, and nothing can interrupt it.
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
# Longer than the helper gives a form; its start, on a busy machine, is the longest.
ANSWER_S = 120.0
# What was killed is gone at once, unless the system is in trouble.
END_S = 10.0
TRIES = 2
HELPER = "services.worker.engine.grammar.helper"
# No faster than the engine that it protects, and quiet beside it.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
# Of the worker's own no more than a Python needs to start: what clients wrote is read there, so no secret is.
_INHERITED = ("PATH", "HOME", "LANG", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "LD_LIBRARY_PATH")


@dataclass(frozen=True, slots=True)
class Grammar:
    """`text` is a JSON schema, an expression, an EBNF grammar, or a structural tag in JSON."""

    kind: Literal["json", "regex", "grammar", "structural_tag"]
    text: str

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(f"{self.kind}:{self.text}".encode()).digest()


class GrammarCheck:
    """One helper, asked about one form at a time. Requests that wait hold slots of the engine, so they are few."""

    def __init__(self, folder: Path, vocab_size: int) -> None:
        """folder: the model's, for its tokenizer."""
        self._arguments = ("-m", HELPER, str(folder), str(vocab_size), str(os.getpid()))
        self._turn = asyncio.Lock()
        self._known: OrderedDict[bytes, str] = OrderedDict()
        self._helper: asyncio.subprocess.Process | None = None
        self.asked = 0

    async def check(self, form: Grammar, param: str) -> None:
        """Raises InvalidPrompt naming `param`; EngineError when the helper itself failed."""
        said = self._known.get(form.digest)
        if said is None:
            said = await self._learn(form)
        if said:
            raise InvalidPrompt(f"Invalid value for '{param}': {said}.", param)

    async def start(self) -> None:
        """So that the first request need not wait for it."""
        await self._running()

    async def stop(self) -> None:
        helper, self._helper = self._helper, None
        if helper and helper.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                helper.kill()
            try:
                async with asyncio.timeout(END_S):
                    await helper.wait()
            except TimeoutError:
                log.warning("the grammar helper, pid %d, was killed and is still there", helper.pid)

    async def _learn(self, form: Grammar) -> str:
        """Whoever waited for the same form meanwhile need not ask again."""
        async with self._turn:
            if (said := self._known.get(form.digest)) is None:
                said = await self._ask(form)
                self._remember(form.digest, said)
            return said

    def _remember(self, digest: bytes, said: str) -> None:
        self._known[digest] = said
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    async def _ask(self, form: Grammar) -> str:
        self.asked += 1
        for _ in range(TRIES):
            try:
                async with asyncio.timeout(ANSWER_S):
                    return await self._answer(form)
            except (TimeoutError, OSError, ValueError) as error:
                log.error("the grammar helper failed: %r", error)
                await self.stop()
        raise EngineError("the form of the answer could not be checked")

    async def _answer(self, form: Grammar) -> str:
        """Past answers to requests that have left meanwhile. Raises OSError when the helper has ended."""
        asks, answers = await self._running()
        asks.write(json.dumps({"id": self.asked, "kind": form.kind, "text": form.text}).encode() + b"\n")
        await asks.drain()
        while line := await answers.readline():
            answer = json.loads(line)
            if answer["id"] == self.asked:
                return str(answer["said"])
        raise BrokenPipeError("it has ended")

    async def _running(self) -> tuple[asyncio.StreamWriter, asyncio.StreamReader]:
        helper = self._helper
        if helper is None or helper.returncode is not None:
            # No session of its own: Linux shares out cores between sessions first, and torch, as it is imported, visits
            # every core. On one that an engine is bound to, a helper of another session has waited there for minutes.
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
