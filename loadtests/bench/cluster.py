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
THIS_CHECKOUT = Path(__file__).parents[2]
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

    @property
    def on_the_way(self) -> list[psutil.Process]:
        """The processes through which a token passes outside its engine."""
        return [self.processes[name] for name in ("gateway", "worker-1", "router-1", "redis")]


@contextmanager
def cluster(folder: Path, config: str, *options: str, checkout: Path = THIS_CHECKOUT) -> Iterator[Cluster]:
    """Runs a cluster until the `with` block ends.

    Args:
        folder: A new folder for the cluster.
        config: The content of tidegate.yaml.
        *options: Options of `tidegate up`.
        checkout: The checkout of Tidegate whose code runs. Another than this one must have a `.venv` of its own.

    Raises:
        ServerDidNotStart: The cluster did not start.
    """
    folder.mkdir()
    (folder / "tidegate.yaml").write_text(config)
    try:
        _tidegate(checkout, folder, "up", "--detach", *options)
        status = json.loads(_tidegate(checkout, folder, "status", "--json"))
        found = {process["name"]: process for process in status["processes"]}
        yield Cluster(
            access(None, None, folder / ".tidegate/local.env"),
            {name: psutil.Process(process["pid"]) for name, process in found.items()},
            {name: process["address"] for name, process in found.items()},
        )
    finally:
        _tidegate(checkout, folder, "down")


def _tidegate(checkout: Path, folder: Path, *arguments: str) -> str:
    """Runs a command in `folder`, with the code of `checkout`."""
    if checkout == THIS_CHECKOUT:
        python, code = sys.executable, OWN_CODE
    else:
        python, code = str(checkout / ".venv/bin/python"), {"PYTHONPATH": f"{checkout}:{checkout}/proto/gen"}
    environment = {**os.environ, **code, **VLLM_EXECUTOR}
    done = subprocess.run(  # noqa: S603 (a fixed command)
        [python, "-m", "services.cli", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=UP_S,
        check=False,
    )
    if done.returncode:
        raise ServerDidNotStart(f"tidegate {arguments[0]} failed:\n{(done.stdout + done.stderr)[-SHOWN_CHARACTERS:]}")
    return done.stdout
