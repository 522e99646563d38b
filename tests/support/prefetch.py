"""Scripts that download what some tests need. They start when the tests are chosen and run beside other tests.

Each script is a process of its own, because tests change environment and working directory of this one. A script does
nothing when everything is there. So a test first waits for the prefetch, then runs the script itself: that call is
quick, and its error message is the test's own. Two calls of one script never overlap, because the scripts lock.
"""

import subprocess

from tests.support.cluster import REPOSITORY

LIMIT_S = 1500.0
"""The longest wait for a script. Tests have shorter limits of their own; this one is for the end of a run."""


class Prefetch:
    """Scripts that run in the background, one process each."""

    def __init__(self) -> None:
        self._started: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, script: str, *arguments: str) -> None:
        """Starts a script with low priority, so that tests come first.

        Args:
            script: Path relative to the repository's root.
            *arguments: Passed on to the script.
        """
        self._started[script] = subprocess.Popen(
            ["nice", "-n", "5", script, *arguments],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def wait(self, script: str) -> None:
        """Returns when the script has ended; at once if it was never started."""
        if script in self._started:
            self._started[script].wait(LIMIT_S)

    def close(self) -> None:
        """Waits for every script, so that none leaves half a download."""
        for process in self._started.values():
            process.wait(LIMIT_S)
