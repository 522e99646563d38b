"""The clients of the matrix, and what each must do: say hello, stream, call a tool and go on, give a structure."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.clients.conversation import CALL, GREETING, RESULT, STORY, TIDE
from tests.clients.environment import FOLDER, Clients
from tests.support.cluster import REPOSITORY

MORE = FOLDER.with_name("clients-more")
NODE_LOCK = Path(__file__).parent / "node/package-lock.json"
ASPECTS = ("hello", "stream", "tools", "structured")

# The engine of the matrix: prompts of agents are long, and cost nothing here.
CLUSTER = """
pools:
  - name: tide
    model: simulated
    workers: 1
    engine: {kind: simulated, context_tokens: 2000000, kv_tokens: 4000000, step_tokens: 200000, step_ms: 1,
             prefill_ms: 0}
"""


@dataclass(frozen=True, slots=True)
class Client:
    """A client of the matrix.

    Attributes:
        title: Its name in the table.
        package: Its package on the index of its language; gives the version.
        program: The file in `programs` that runs it.
        api: The API that it speaks; empty if the program's answer has a part for each that it speaks.
        always: It runs in `make test`, not only in `make clients`.
        more: It needs other versions of packages than the others: requirements/clients-more.lock.
        note: What people should know; for the table.
    """

    title: str
    package: str
    program: str
    api: str = ""
    always: bool = False
    more: bool = False
    note: str = ""

    @property
    def version(self) -> str:
        """The version that is pinned."""
        if self.program.endswith("js") or self.package.startswith("@") or self.package == "opencode-linux-x64":
            return str(json.loads(NODE_LOCK.read_text())["packages"][f"node_modules/{self.package}"]["version"])
        lock = REPOSITORY / f"requirements/clients{'-more' if self.more else ''}.lock"
        [version] = re.findall(rf"^{re.escape(self.package)}==(\S+)", lock.read_text(), re.MULTILINE)
        return str(version)

    def run(self, clients: Clients) -> list["Row"]:
        """Runs the client and compares what it saw with what it should have seen."""
        told = clients.told(self.program, MORE if self.more else FOLDER)
        parts = {self.api: told} if self.api else told
        return [Row.of(self, api, part) for api, part in parts.items()]


_NATIVE = "its program of machine code comes in a package for each platform"
_THREADS = "the tool runner tries a thread first, and then sends all messages"

CLIENTS = (
    Client("Codex CLI", "@openai/codex", "codex_exec.py", "responses", always=True, note=_NATIVE),
    Client("Claude Code", "@anthropic-ai/claude-code", "claude_code.py", "messages", always=True, note=_NATIVE),
    Client("opencode", "opencode-linux-x64", "opencode_run.py", "chat", note=f"{_NATIVE}; here that for Linux on x64"),
    Client("Continue CLI", "@continuedev/cli", "continue_cn.py", "chat"),
    Client("openai, Python", "openai", "openai_chat.py", always=True),
    Client("openai, Node.js", "openai", "openai_tools.mjs", always=True),
    Client("anthropic, Python", "anthropic", "anthropic_messages.py", "messages", always=True, note=_THREADS),
    Client("anthropic, Node.js", "@anthropic-ai/sdk", "anthropic_node.mjs", "messages", note=_THREADS),
    Client("AI SDK", "ai", "ai_sdk.mjs"),
    Client("OpenAI Agents SDK", "openai-agents", "openai_agents.py", always=True),
    Client(
        "Pydantic AI",
        "pydantic-ai-slim",
        "pydantic_agent.py",
        note="native structures over messages: only for models of Anthropic's",
    ),
    Client("Instructor", "instructor", "instructor_modes.py", more=True),
    Client("LangChain", "langchain-openai", "langchain_tools.py"),
    Client("LiteLLM", "litellm", "litellm_tools.py"),
    Client("Haystack", "haystack-ai", "haystack_chat.py", more=True),
    Client("LlamaIndex", "llama-index-llms-openai-like", "llama_index_chat.py", "chat", more=True),
    Client("smolagents", "smolagents", "smolagents_chat.py", "chat", more=True),
)


@dataclass(frozen=True, slots=True)
class Row:
    """What one client did over one API.

    Attributes:
        passed: The aspects that went right. For a structured output, each way to it counts.
        failed: The others that the program tried, with what it saw instead.
    """

    client: str
    version: str
    api: str
    passed: list[str]
    failed: dict[str, Any]

    @classmethod
    def of(cls, client: Client, api: str, told: dict[str, Any]) -> "Row":
        """Judges the told values."""
        judged = {name: (right, seen) for name, right, seen in _judged(told)}
        passed = [name for name, (right, _) in judged.items() if right]
        failed = {name: seen for name, (right, seen) in judged.items() if not right}
        return cls(client.title, client.version, api, passed, failed)


def _judged(told: dict[str, Any]) -> Iterator[tuple[str, bool, Any]]:
    """Yields each aspect that a program tried, whether it went right, and what was seen."""
    if "hello" in told:
        yield "hello", told["hello"] == GREETING, told["hello"]
    if "stream" in told:
        pieces = told["stream"]
        yield "stream", "".join(pieces) == STORY and len([piece for piece in pieces if piece]) > 1, pieces
    if "tools" in told:
        calls, answer = told["tools"]["calls"], told["tools"]["answer"]
        yield "tools", calls == [CALL] and RESULT in answer, told["tools"]
    for way, value in told.get("structured", {}).items():
        yield f"structured: {way}", value == TIDE, value
