"""The helper that compiles grammars before the engine does: real xgrammar, a real tokenizer, no engine."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path
from subprocess import PIPE, Popen

import psutil
import pytest
import pytest_asyncio
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from services.worker.engine.contract import InvalidPrompt
from services.worker.engine.grammar.check import ANSWER_S, HELPER, Grammar, GrammarCheck
from tests.support.processes import is_gone
from tests.support.wait import wait_until

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

PARAM = "structured_outputs.regex"
SCHEMA = {"type": "object", "properties": {"tide": {"enum": ["high", "low"]}}, "required": ["tide"]}
# xgrammar 0.2.8 compiles these 1,500 characters for half a minute.
CATASTROPHE = "(a|a)*" * 250
VOCABULARY = [*map(chr, range(32, 127)), *map("".join, product("abcdefgh", repeat=5)), "</s>"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    words = models.WordLevel({word: number for number, word in enumerate(VOCABULARY)}, "</s>")
    made = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(words), eos_token="</s>")
    made.save_pretrained(folder)
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def checker(tokenizer: Path) -> AsyncIterator[GrammarCheck]:
    """One for all tests: its start takes seconds."""
    made = GrammarCheck(tokenizer, len(VOCABULARY))
    await made.start()
    yield made
    await made.stop()


async def test_a_grammar_that_compiles_passes(checker: GrammarCheck) -> None:
    for grammar in (
        Grammar("regex", "[a-z]{3}"),
        Grammar("json", json.dumps(SCHEMA)),
        Grammar("grammar", 'root ::= "high" | "low"'),
    ):
        await checker.check(grammar, PARAM)


async def test_a_grammar_that_does_not_compile_is_refused_with_a_reason(checker: GrammarCheck) -> None:
    with pytest.raises(InvalidPrompt, match="parenthesis") as refused:
        await checker.check(Grammar("regex", "("), PARAM)
    assert refused.value.param == PARAM
    assert ".cc" not in str(refused.value)


async def test_compiling_is_bounded_in_time_and_asked_once(checker: GrammarCheck) -> None:
    before = checker.asked
    for _ in range(2):
        with pytest.raises(InvalidPrompt, match="takes too long to compile"):
            await checker.check(Grammar("regex", CATASTROPHE), PARAM)
    assert checker.asked == before + 1
    await checker.check(Grammar("regex", "a+"), PARAM)


async def test_a_known_grammar_does_not_wait(checker: GrammarCheck) -> None:
    known, before = Grammar("regex", "c+"), checker.asked
    await checker.check(known, PARAM)
    slow = asyncio.create_task(checker.check(Grammar("regex", f"{CATASTROPHE}d"), PARAM))
    await wait_until(lambda: checker.asked == before + 2, description="the other one is compiled")
    await checker.check(known, PARAM)
    assert not slow.done()
    with pytest.raises(InvalidPrompt, match="takes too long to compile"):
        await slow


async def test_a_helper_that_died_is_replaced(checker: GrammarCheck) -> None:
    assert checker._helper
    os.kill(checker._helper.pid, signal.SIGKILL)
    await checker.check(Grammar("regex", "b+"), PARAM)


async def test_the_helper_shares_the_session_of_its_worker(checker: GrammarCheck) -> None:
    """In a session of its own it waited minutes for a core that an engine was bound to."""
    await checker.start()
    assert checker._helper
    assert os.getsid(checker._helper.pid) == os.getsid(0)


async def test_a_compiling_child_ends_with_its_helper(tokenizer: Path) -> None:
    checker = GrammarCheck(tokenizer, len(VOCABULARY))
    # The start takes a minute when others want the cores, and is bounded by the checker itself.
    await checker.check(Grammar("regex", "a"), PARAM)
    assert checker._helper
    helper = psutil.Process(checker._helper.pid)
    slow = asyncio.create_task(checker.check(Grammar("regex", CATASTROPHE), PARAM))
    seen: list[psutil.Process] = []

    def is_compiled() -> bool:
        seen[:] = helper.children()
        return bool(seen) or slow.done()

    await wait_until(is_compiled, description="the grammar is compiled", timeout=60)
    assert not slow.done()
    (compiling,) = seen
    slow.cancel()
    await checker.stop()
    assert is_gone(helper)
    await wait_until(lambda: is_gone(compiling), description="what compiled has ended")


@pytest.mark.parametrize("seen", ["python", "torch"], ids=["at once", "while it imports"])
async def test_the_helper_ends_with_a_worker_that_is_killed_while_it_starts(tokenizer: Path, seen: str) -> None:
    """The helper's input stays open here, so its end cannot tell the helper."""
    reader, writer = os.pipe()
    helping = [sys.executable, "-m", HELPER, str(tokenizer), "9"]
    begun = f"Popen([*{helping}, str(os.getpid())], stdin={reader})"
    start = f"import os; from subprocess import Popen; print({begun}.pid, flush=True); input()"
    with (
        os.fdopen(reader),
        os.fdopen(writer),
        Popen(  # noqa: ASYNC220 - its pipes are closed here, asyncio's own some time later
            [sys.executable, "-c", start], stdin=PIPE, stdout=PIPE, pass_fds=[reader]
        ) as worker,
    ):
        assert worker.stdout is not None
        helper = psutil.Process(int(worker.stdout.readline()))
        try:
            await wait_until(
                lambda: seen in Path(f"/proc/{helper.pid}/maps").read_text(),
                description="it has begun",
                timeout=ANSWER_S,
            )
        finally:
            worker.kill()
        await wait_until(lambda: is_gone(helper), description="the helper has ended")
