"""Codex CLI: `codex exec` with a provider of its own, a command in a shell, an output schema."""

import json
import os
import sys
from pathlib import Path

from agent_folder import ADDRESS, ASKED, Folder, binary, script

SETTINGS = """
# settings: TOML; `~/.codex/config.toml`
model = "tide"
model_provider = "tidegate"

[model_providers.tidegate]
name = "Tidegate"
base_url = "http://localhost:8080/v1"
env_key = "OPENAI_API_KEY"
wire_api = "responses"
# end of settings
"""
SCHEMA = {
    "type": "object",
    "properties": {"harbour": {"type": "string"}, "rising": {"type": "boolean"}},
    "required": ["harbour", "rising"],
    "additionalProperties": False,
}
home = Path(os.environ["HOME"]) / ".codex"
home.mkdir()
(home / "config.toml").write_text(SETTINGS.replace("http://localhost:8080", ADDRESS))
(home / "schema.json").write_text(json.dumps(SCHEMA))
codex = binary("@openai/codex-*/vendor/*/bin/codex")
folder = Folder()


def answer(prompt: str, *options: str) -> str:
    events = folder.events(
        codex, "exec", "--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", *options, prompt
    )
    messages = [event["item"]["text"] for event in events if event.get("item", {}).get("type") == "agent_message"]
    return str(messages[-1])


structured = script("Is the tide rising?", say=json.dumps({"harbour": "Brest", "rising": True}))
command = script("Run it.", call={"name": "exec_command", "arguments": {"cmd": ASKED["command"]}})
told = {
    "hello": answer(ASKED["hello"]),
    "tools": {"answer": answer(command), "calls": folder.called},
    "structured": {"output-schema": json.loads(answer(structured, "--output-schema", str(home / "schema.json")))},
}
json.dump(told, sys.stdout)
