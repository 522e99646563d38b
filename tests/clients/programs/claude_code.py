"""Claude Code: `claude -p`, its stream of events, a command in a shell, an output schema."""

import json
import os
import sys
from typing import Any

from agent_folder import ADDRESS, ASKED, Folder, binary, script

SETTINGS = """
# settings: sh; variables of the shell
export ANTHROPIC_BASE_URL=http://localhost:8080 ANTHROPIC_API_KEY=KEY
export ANTHROPIC_MODEL=tide ANTHROPIC_SMALL_FAST_MODEL=tide
export CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1
# end of settings
"""
SCHEMA = {
    "type": "object",
    "properties": {"harbour": {"type": "string"}, "rising": {"type": "boolean"}},
    "required": ["harbour", "rising"],
}
lines = [line.removeprefix("export ") for line in SETTINGS.splitlines() if line.startswith("export")]
variables = dict(setting.split("=", 1) for line in lines for setting in line.split())
variables = {**variables, "ANTHROPIC_BASE_URL": ADDRESS, "ANTHROPIC_API_KEY": os.environ["ANTHROPIC_API_KEY"]}
claude = binary("@anthropic-ai/claude-code-*/claude")
folder = Folder()


def ask(prompt: str, *options: str) -> dict[str, Any]:
    printed = folder.run(claude, "-p", prompt, "--output-format", "json", *options, **variables)
    return dict(json.loads(printed))


events = folder.events(
    claude, "-p", ASKED["stream"], "--output-format", "stream-json", "--verbose", "--include-partial-messages",
    **variables,
)  # fmt: skip
deltas = [event["event"].get("delta", {}) for event in events if event["type"] == "stream_event"]
command = script("Run it.", call={"name": "Bash", "arguments": {"command": ASKED["command"], "description": "Reads."}})
structured = script(
    "Is the tide rising?", call={"name": "StructuredOutput", "arguments": {"harbour": "Brest", "rising": True}}
)
told = {
    "hello": ask(ASKED["hello"])["result"],
    "stream": [delta["text"] for delta in deltas if delta.get("type") == "text_delta"],
    "tools": {"answer": ask(command, "--allowedTools", "Bash")["result"], "calls": folder.called},
    "structured": {"json-schema": ask(structured, "--json-schema", json.dumps(SCHEMA))["structured_output"]},
}
json.dump(told, sys.stdout)
