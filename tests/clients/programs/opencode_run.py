"""opencode: `opencode run` with a provider of its own, a command in a shell."""

import json
import os
import sys
from pathlib import Path

from agent_folder import ADDRESS, ASKED, Folder, binary, script

SETTINGS = """
// settings: JSON; `~/.config/opencode/opencode.json`
{
  "provider": {
    "tidegate": {
      "npm": "@ai-sdk/openai-compatible",
      "options": {"baseURL": "http://localhost:8080/v1", "apiKey": "{env:OPENAI_API_KEY}"},
      "models": {"tide": {}}
    }
  },
  "model": "tidegate/tide",
  "small_model": "tidegate/tide"
}
// end of settings
"""
home = Path(os.environ["HOME"]) / ".config/opencode"
home.mkdir(parents=True)
(home / "opencode.json").write_text(SETTINGS.replace("http://localhost:8080", ADDRESS))
opencode = binary("opencode-linux-x64/bin/opencode")
folder = Folder()


def answer(prompt: str) -> str:
    # Given as an argument, it would come with quotes around it and backslashes in it.
    quiet = {"OPENCODE_DISABLE_MODELS_FETCH": "1", "OPENCODE_DISABLE_AUTOUPDATE": "1"}
    events = folder.events(opencode, "run", "--format", "json", given=prompt, **quiet)
    return str([event["part"]["text"] for event in events if event["type"] == "text"][-1])


command = script("Run it.", call={"name": "bash", "arguments": {"command": ASKED["command"], "description": "Reads."}})
json.dump({"hello": answer(ASKED["hello"]), "tools": {"answer": answer(command), "calls": folder.called}}, sys.stdout)
