"""Continue's CLI: `cn -p` with a model of its own, a command in a shell."""

import json
import os
import sys
from pathlib import Path

from agent_folder import ADDRESS, ASKED, Folder, node, script

SETTINGS = """
# settings: YAML; `~/.continue/config.yaml`
name: Tidegate
version: 1.0.0
schema: v1
models:
  - {name: Tide, provider: openai, model: tide, apiBase: "http://localhost:8080/v1", apiKey: KEY}
# end of settings
"""
home = Path(os.environ["HOME"]) / ".continue"
home.mkdir()
settings = SETTINGS.replace("http://localhost:8080", ADDRESS).replace(
    "apiKey: KEY", f"apiKey: {os.environ['OPENAI_API_KEY']}"
)
(home / "config.yaml").write_text(settings)
cn = [*node("@continuedev/cli/dist/cn.js"), "--config", str(home / "config.yaml")]
folder = Folder()


def answer(*options: str) -> str:
    return str(folder.run(*cn, *options, CONTINUE_TELEMETRY_ENABLED="0")).strip()


command = script("Run it.", call={"name": "Bash", "arguments": {"command": ASKED["command"]}})
told = {
    "hello": answer("-p", ASKED["hello"]),
    "tools": {"answer": answer("--allow", "Bash", "-p", command), "calls": folder.called},
}
json.dump(told, sys.stdout)
