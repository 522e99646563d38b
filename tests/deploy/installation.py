"""A folder with the files of an installation with docker compose, and a stand-in for docker to run its scripts with."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.cluster import REPOSITORY

PARTS = ("docker", "docker-compose.yml", "scripts", ".env.example", "tidegate.yaml", "deploy", "pyproject.toml")


@dataclass(frozen=True, slots=True)
class Installation:
    """root: where docker-compose.yml, .env and .secrets are. variables: changes to the environment of services."""

    root: Path
    variables: Mapping[str, Mapping[str, str]]
    socket: Path | None = None

    @classmethod
    def make(
        cls, folder: Path, variables: Mapping[str, Mapping[str, str]], socket: Path | None = None
    ) -> "Installation":
        """In an empty folder, after `make env`."""
        root = folder / "installation"
        (root / "bin").mkdir(parents=True)
        for part in PARTS:
            (root / part).symlink_to(REPOSITORY / part)
        docker = root / "bin/docker"
        docker.write_text(f'#!/bin/sh\nexec {sys.executable} {REPOSITORY}/tests/deploy/standin_docker.py "$@"\n')
        docker.chmod(0o755)
        subprocess.run([REPOSITORY / "scripts/env.sh", str(root)], check=True, capture_output=True)
        return cls(root, variables, socket)

    @property
    def environment(self) -> dict[str, str]:
        python = f"{REPOSITORY}:{REPOSITORY / 'proto/gen'}"
        told = {
            "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": python,
            "STANDIN_CALLS": str(self.root / "calls"),
            "STANDIN_VARIABLES": json.dumps(self.variables),
        }
        return {**os.environ, **told, **({"STANDIN_SOCKET": str(self.socket)} if self.socket else {})}

    def script(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a script of the installation; does not check its exit status."""
        argv = ["bash", str(self.root / "scripts" / name), *arguments]
        return subprocess.run(argv, env=self.environment, capture_output=True, text=True, timeout=120)

    def calls(self) -> list[list[str]]:
        """All calls of `docker compose`, without `compose`."""
        file = self.root / "calls"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
