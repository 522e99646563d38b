"""A whole cluster, started and stopped with the command that people use."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from services.local import cluster_record
from services.local.data_folder import DataFolder

TIDEGATE = [sys.executable, "-m", "services.cli"]
REPOSITORY = Path(__file__).parents[2]
UP_S = 800.0
"""For a real model on a busy machine. A start takes a minute or two where nothing else runs."""


@dataclass(frozen=True, slots=True)
class RunningCluster:
    """A cluster that runs.

    Attributes:
        folder: The working directory of `tidegate up`; `.tidegate` is in it.
        variables: What `.tidegate/local.env` sets.
    """

    folder: Path
    variables: dict[str, str]

    @property
    def rest(self) -> str:
        """The base URL for OpenAI clients; it ends with `/v1`."""
        return self.variables["OPENAI_BASE_URL"]

    @property
    def key(self) -> str:
        """The API key that `up` made for clients."""
        return self.variables["OPENAI_API_KEY"]

    @property
    def grpc(self) -> str:
        """host:port of the gRPC interface."""
        return self.variables["TIDEGATE_GRPC"]

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a shell after `. .tidegate/local.env`."""
        return {**os.environ, **self.variables}

    def status(self) -> dict[str, Any]:
        """What `tidegate status --json` prints. Takes a second; `record` is quicker."""
        return dict(json.loads(tidegate(self.folder, "status", "--json").stdout))

    @property
    def record(self) -> cluster_record.ClusterRecord:
        """The file in which the supervisor keeps the processes' state."""
        record = cluster_record.load(DataFolder(self.folder / ".tidegate").state)
        assert record is not None
        return record

    def pids(self) -> list[int]:
        """The process ids of all processes that run."""
        return [process.pid for process in self.record.processes if process.pid]


def tidegate(folder: Path, *arguments: str, timeout: float = UP_S) -> subprocess.CompletedProcess[str]:
    """Runs a `tidegate` command in a folder. Does not check its exit status."""
    command = [*TIDEGATE, *arguments]
    return subprocess.run(command, cwd=folder, env=_environment(), capture_output=True, text=True, timeout=timeout)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'proto/gen'}"}


def local_env(folder: Path) -> dict[str, str]:
    """The variables that `.tidegate/local.env` sets."""
    lines = (folder / ".tidegate/local.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


@contextmanager
def running_cluster(folder: Path, config: str, *options: str, foreground: bool = False) -> Iterator[RunningCluster]:
    """Starts a cluster, and stops it at the end. Asserts that it starts and that no process of it is left.

    `down` must not wait for whoever started the cluster: this process reads the exit status of `up` only after it.

    Args:
        folder: An empty folder for configuration and data.
        config: The text of `tidegate.yaml`.
        *options: Options of `tidegate up`.
        foreground: Start it in this process's own Linux session, without `--detach`.
    """
    (folder / "tidegate.yaml").write_text(config)
    up: subprocess.Popen[bytes] | None = None
    with ExitStack() as started:
        try:
            if foreground:
                up = started.enter_context(_up(folder, *options))
            else:
                _up_detached(folder, *options)
            cluster = RunningCluster(folder, local_env(folder))
            pids = cluster.pids()
            yield cluster
        finally:
            stopped = tidegate(folder, "down")
            starter = psutil.Process(up.pid).status() if up else psutil.STATUS_ZOMBIE
    assert stopped.returncode == 0, stopped.stderr
    assert starter == psutil.STATUS_ZOMBIE
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    assert not [process for process in psutil.process_iter(["cmdline"]) if str(folder) in _command(process)]


def _up_detached(folder: Path, *options: str) -> None:
    up = tidegate(folder, "up", "--detach", *options)
    assert up.returncode == 0, up.stdout + up.stderr + _logs(folder)


@contextmanager
def _up(folder: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Starts `tidegate up` and waits until the cluster runs. At the end it waits until the command has ended."""
    log = folder / "up.log"
    command = [*TIDEGATE, "up", *options]
    with log.open("w") as out, subprocess.Popen(command, cwd=folder, env=_environment(), stdout=out, stderr=out) as up:
        deadline = time.monotonic() + UP_S
        record = None
        while record is None or record.state != "running":
            assert up.poll() is None, log.read_text() + _logs(folder)
            if time.monotonic() > deadline:
                up.terminate()
                raise AssertionError(f"the cluster was not up within {UP_S:g} s")
            time.sleep(0.2)
            record = cluster_record.load(DataFolder(folder / ".tidegate").state)
        yield up


def _command(process: psutil.Process) -> str:
    return " ".join(process.info["cmdline"] or [])


def _logs(folder: Path) -> str:
    files = sorted((folder / ".tidegate/logs").glob("*.log"))
    return "".join(f"\n--- {file.name}\n{file.read_text()[-3000:]}" for file in files)
