"""python -m services.worker.engine.grammar.helper FOLDER VOCAB_SIZE PID: compiles forms as the engine would, in limits.

It ends with its worker, whose PID that is. Reads a JSON line for each form and answers with one. Compiling is native
code that nothing can interrupt, so each form gets a forked child, and what takes too much time or memory ends with it.

Libraries are imported where they are used: their import takes seconds, and the worker may be gone meanwhile.
"""

import ctypes
import json
import os
import re
import resource
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

# The engine compiles once more, with more threads: nobody waits longer for it than this.
CPU_S = 3
# For a machine that is too busy to give a child its time.
WALL_S = 20
MEMORY_BYTES = 1 << 30
MAX_SAID_BYTES = 300
# As the engine compiles: without white space between tokens, in which small models can lose themselves.
JSON_OPTIONS: dict[str, Any] = {"any_whitespace": False, "separators": (",", ":")}

_PR_SET_PDEATHSIG = 1

# Time and place in its source, with which xgrammar begins what it says.
_WHERE = re.compile(r"^\[[\d:]+\] \S+:\d+: ")
TOO_LONG = "takes too long to compile"
TOO_LARGE = "needs too much memory to compile"


def main() -> None:
    folder, vocab_size, worker = sys.argv[1:]
    _end_with(int(worker))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal that it may share with its worker, which ends it
    tokens = _tokens(Path(folder), int(vocab_size))
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        said = judge(partial(_compile, tokens, asked["kind"], asked["text"]))
        sys.stdout.write(json.dumps({"id": asked["id"], "said": said}) + "\n")
        sys.stdout.flush()


def _end_with(parent: int) -> None:
    """Linux kills this process when its parent dies: a helper reads that its input has ended only between two forms."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before that
        raise SystemExit(1)


def _tokens(folder: Path, vocab_size: int) -> Any:
    from xgrammar import TokenizerInfo

    return TokenizerInfo.from_huggingface(_tokenizer(folder), vocab_size=vocab_size)


def _tokenizer(folder: Path) -> Any:
    """Its vocabulary is all that counts. AutoTokenizer would import every model's code: half of the start."""
    if (folder / "tokenizer.json").exists():
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast.from_pretrained(folder)
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def judge(compiling: Callable[[], object]) -> str:
    """What is to be said against it; nothing when it compiles."""
    reader, writer = os.pipe()
    helper = os.getpid()
    child = os.fork()
    if not child:
        _end_with(helper)
        _try(compiling, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        return said.decode(errors="replace") if os.WEXITSTATUS(status) == 0 else TOO_LARGE
    return TOO_LONG if os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL, signal.SIGALRM) else TOO_LARGE


def _try(compiling: Callable[[], object], writer: int) -> None:
    """In the child, which ends here: an end other than 0 is that of its memory."""
    _limit()
    try:
        compiling()
    except (RuntimeError, ValueError, TypeError) as error:
        os.write(writer, _words(error).encode()[:MAX_SAID_BYTES])
    except MemoryError:
        os._exit(1)
    os._exit(0)


def _words(error: Exception) -> str:
    first = _WHERE.sub("", str(error).strip()).partition("\n")[0].rstrip(".")
    return first or type(error).__name__


def _limit() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, used + MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))
    signal.setitimer(signal.ITIMER_REAL, WALL_S)


def _compile(tokens: Any, kind: str, text: str) -> object:
    from xgrammar import GrammarCompiler

    compiler = GrammarCompiler(tokens, max_threads=1, cache_enabled=False)
    match kind:
        case "json":
            return compiler.compile_json_schema(text, **JSON_OPTIONS)
        case "regex":
            return compiler.compile_regex(text)
        case "grammar":
            return compiler.compile_grammar(text)
        case _:
            return compiler.compile_structural_tag(text)


if __name__ == "__main__":
    main()
