"""python -m services.worker.engine.grammar.helper FOLDER VOCAB_SIZE PID: compiles grammars as the engine would.

PID is the worker; the helper ends with it. The helper reads one JSON line for each grammar and answers with one line.
The compiler is native code that nothing can interrupt. So each grammar is compiled in a forked child, and a child that
takes too much time or memory is ended.

Libraries are imported where they are used: an import takes seconds, and the worker may end meanwhile.
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

# The engine compiles the grammar again, with more threads, so it never takes longer than this.
CPU_S = 3
# The limit when a busy machine gives the child little CPU time.
WALL_S = 20
MEMORY_BYTES = 1 << 30
MAX_PROBLEM_BYTES = 300
# The engine's own options: no white space between JSON tokens, because small models can generate it without end.
JSON_OPTIONS: dict[str, Any] = {"any_whitespace": False, "separators": (",", ":")}

_PR_SET_PDEATHSIG = 1

# xgrammar's messages begin with the time and a place in its source.
_WHERE = re.compile(r"^\[[\d:]+\] \S+:\d+: ")
TOO_LONG = "takes too long to compile"
TOO_LARGE = "needs too much memory to compile"


def main() -> None:
    """Compiles one grammar for each line of standard input and writes the result to standard output."""
    folder, vocab_size, worker = sys.argv[1:]
    _end_with(int(worker))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the worker gets Ctrl-C too, and ends the helper
    tokens = _tokens(Path(folder), int(vocab_size))
    for line in sys.stdin.buffer:
        request = json.loads(line)
        problem = judge(partial(_compile, tokens, request["kind"], request["text"]))
        sys.stdout.write(json.dumps({"id": request["id"], "problem": problem}) + "\n")
        sys.stdout.flush()


def _end_with(parent: int) -> None:
    """Lets Linux kill this process when its parent dies: it notices the end of its input only between grammars."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent died before prctl
        raise SystemExit(1)


def _tokens(folder: Path, vocab_size: int) -> Any:
    from xgrammar import TokenizerInfo

    return TokenizerInfo.from_huggingface(_tokenizer(folder), vocab_size=vocab_size)


def _tokenizer(folder: Path) -> Any:
    """Loads the tokenizer. Only its vocabulary is needed: AutoTokenizer imports all models, half of the start."""
    if (folder / "tokenizer.json").exists():
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast.from_pretrained(folder)
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def judge(compiling: Callable[[], object]) -> str:
    """Compiles in a forked child; returns why that failed, or an empty text when it succeeded."""
    reader, writer = os.pipe()
    helper = os.getpid()
    child = os.fork()
    if not child:
        _end_with(helper)
        _try(compiling, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        problem = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        return problem.decode(errors="replace") if os.WEXITSTATUS(status) == 0 else TOO_LARGE
    return TOO_LONG if os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL, signal.SIGALRM) else TOO_LARGE


def _try(compiling: Callable[[], object], writer: int) -> None:
    """Compiles in the child and exits; an exit status other than 0 means that memory ran out."""
    _limit()
    try:
        compiling()
    except (RuntimeError, ValueError, TypeError) as error:
        os.write(writer, _describe(error).encode()[:MAX_PROBLEM_BYTES])
    except MemoryError:
        os._exit(1)
    os._exit(0)


def _describe(error: Exception) -> str:
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
