"""Tidegate as people start it, in a folder of the benchmark's own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from loadtests.bench.process import OWN_CODE, SHOWN_CHARACTERS, DidNotStart
from loadtests.target import Target, access

UP_S = 400
COMMAND = (sys.executable, "-m", "services.cli")


@dataclass(frozen=True, slots=True)
class Cluster:
    """`processes` by name: gateway, router-1, worker-1, redis. `addresses` of the same."""

    target: Target
    processes: dict[str, psutil.Process]
    addresses: dict[str, str]

    @property
    def gateway(self) -> psutil.Process:
        return self.processes["gateway"]

    @property
    def worker(self) -> psutil.Process:
        return self.processes["worker-1"]


@contextmanager
def cluster(folder: Path, config: str, *options: str) -> Iterator[Cluster]:
    """Raises DidNotStart."""
    folder.mkdir()
    (folder / "tidegate.yaml").write_text(config)
    try:
        _tidegate(folder, "up", "--detach", *options)
        status = json.loads(_tidegate(folder, "status", "--json"))
        found = {process["name"]: process for process in status["processes"]}
        yield Cluster(
            access(None, None, folder / ".tidegate/local.env"),
            {name: psutil.Process(process["pid"]) for name, process in found.items()},
            {name: process["address"] for name, process in found.items()},
        )
    finally:
        _tidegate(folder, "down")


def _tidegate(folder: Path, *arguments: str) -> str:
    """In `folder`, but with the code that runs here."""
    environment = {**os.environ, **OWN_CODE}
    done = subprocess.run(  # noqa: S603 (our own words)
        [*COMMAND, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=UP_S, check=False
    )
    if done.returncode:
        raise DidNotStart(f"tidegate {arguments[0]} failed:\n{(done.stdout + done.stderr)[-SHOWN_CHARACTERS:]}")
    return done.stdout
