"""The servers that we are compared with: `vllm serve`, a mock worker, and the programs of other routers."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from loadtests.bench.process import OWN_CODE, free_port, server
from loadtests.target import Target

KEY = "sk-bench"
ENGINE = {
    "--max-num-seqs": "64",
    "--max-num-batched-tokens": "2048",
    "--kv-cache-memory-bytes": str(2**30),
    "--dtype": "bfloat16",
    "--load-format": "safetensors",
}
"""The same engine settings as POOL has for our worker."""
POOL = "{kind: vllm, max_running: 64, step_tokens: 2048, kv_memory_gib: 1.0, dtype: bfloat16}"
LOCK = Path(__file__).parents[2] / "requirements/peers.lock"
TOOLS = Path(__file__).parents[2] / ".tools/peers"


class NoPeers(Exception):
    """No other routers can be run. The message says why."""


def programs(environment: Path | None) -> Path:
    """The folder with the routers' programs. Without `environment` they are installed from the pinned list.

    Raises:
        NoPeers: They are missing, or could not be installed.
    """
    home = environment or TOOLS
    found = home / "bin"
    if (found / "vllm-router").exists():
        return found
    if environment:
        raise NoPeers(f"--peers = {environment}: it does not contain vllm-router")
    try:
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)  # noqa: S603
        install = [str(found / "pip"), "install", "--quiet", "--require-hashes", "--no-deps", "-r", str(LOCK)]
        subprocess.run(install, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoPeers(f"{LOCK.name} could not be installed: {error}") from None
    return found


@contextmanager
def vllm_serve(
    model: Path, name: str, like: psutil.Process, log: Path, *options: str
) -> Iterator[tuple[Target, psutil.Process]]:
    """Runs `vllm serve` with the engine settings, preloaded libraries and threads of our worker `like`.

    Args:
        model: Folder of the model.
        name: What clients call it.
        like: Our worker.
        log: File for the output.
        *options: More options.
    """
    port = free_port()
    settings = [part for option in ENGINE.items() for part in option]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += ["--served-model-name", name, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--enforce-eager", "--disable-uvicorn-access-log", *settings, *options]
    with server(command, port, "/health", log, _settings_of(like)) as process:
        yield _target(port), process


@contextmanager
def mock_worker(pace_s: float, log: Path) -> Iterator[tuple[Target, psutil.Process]]:
    """Runs a mock worker. `pace_s`: seconds between two tokens."""
    port = free_port()
    command = [sys.executable, "-m", "loadtests.bench.mock_worker", str(port), str(pace_s)]
    with server(command, port, "/health", log, OWN_CODE) as process:
        yield _target(port), process


def _settings_of(worker: psutil.Process) -> dict[str, str]:
    threads = ("LD_PRELOAD", "OMP_NUM_THREADS", "VLLM_CPU_OMP_THREADS_BIND")
    shared = (*threads, "HF_HUB_OFFLINE", "VLLM_NO_USAGE_STATS", "DO_NOT_TRACK")
    return {name: value for name, value in worker.environ().items() if name in shared}


def _target(port: int) -> Target:
    return Target.of(f"http://127.0.0.1:{port}/v1", KEY)
