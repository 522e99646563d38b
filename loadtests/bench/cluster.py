"""A Tidegate cluster, started with `tidegate up` in a folder of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from loadtests.bench.process import OWN_CODE, SHOWN_CHARACTERS, ServerDidNotStart
from loadtests.target import Target, access

UP_S = 400
COMMAND = (sys.executable, "-m", "services.cli")
VLLM_EXECUTOR = {"VLLM_CPU_OMP_THREADS_BIND": "nobind"}
"""vLLM's own process for the model on a CPU, without pinned threads: `vllm serve` cannot be told to use ours."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster. `processes` and `addresses` are by name: gateway, router-1, worker-1, redis."""

    target: Target
    processes: dict[str, psutil.Process]
    addresses: dict[str, str]

    @property
    def gateway(self) -> psutil.Process:
        """The gateway's process."""
        return self.processes["gateway"]

    @property
    def worker(self) -> psutil.Process:
        """The first worker's process."""
        return self.processes["worker-1"]


@contextmanager
def cluster(folder: Path, config: str, *options: str) -> Iterator[Cluster]:
    """Runs a cluster until the `with` block ends.

    Args:
        folder: A new folder for the cluster.
        config: The content of tidegate.yaml.
        *options: Options of `tidegate up`.

    Raises:
        ServerDidNotStart: The cluster did not start.
    """
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
    """Runs a command in `folder`, with the code of this checkout."""
    environment = {**os.environ, **OWN_CODE, **VLLM_EXECUTOR}
    done = subprocess.run(  # noqa: S603 (a fixed command)
        [*COMMAND, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=UP_S, check=False
    )
    if done.returncode:
        raise ServerDidNotStart(f"tidegate {arguments[0]} failed:\n{(done.stdout + done.stderr)[-SHOWN_CHARACTERS:]}")
    return done.stdout
