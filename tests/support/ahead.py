"""Scripts that fetch what some tests want, run from the moment that tests are chosen, while others run.

Each is a process of its own: tests change the environment and the folder of theirs. A script does nothing when all is
there, so whoever wants its work waits for it and calls it himself, and hears from that call what was wrong.
"""

import subprocess

from tests.support.cluster import REPOSITORY

LIMIT_S = 1500.0
"""Tests that wait for it have shorter limits; this one is for the end of a run."""


class Ahead:
    def __init__(self) -> None:
        self._begun: dict[str, subprocess.Popen[bytes]] = {}

    def begin(self, script: str, *arguments: str) -> None:
        """script: its path in the repository. It yields to tests where there is not time enough for all."""
        self._begun[script] = subprocess.Popen(
            ["nice", "-n", "5", script, *arguments],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def wait(self, script: str) -> None:
        if script in self._begun:
            self._begun[script].wait(LIMIT_S)

    def close(self) -> None:
        """Nothing is cut off half-way."""
        for process in self._begun.values():
            process.wait(LIMIT_S)
