"""A plain `vllm serve` of the pinned version, with the packaged model on the CPU."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from loadtests.bench.process import free_port, server
from services.local.machine import Machine
from tests.conformance.target import Target
from trainer.sources.packaged import PackagedSmolLM2

MODEL = "smollm2-135m-instruct"
KEY = "sk-conformance"
OPTIONS = {
    "--served-model-name": MODEL,
    "--api-key": KEY,
    "--host": "127.0.0.1",
    "--tool-call-parser": "hermes",
    "--max-num-seqs": "8",
    "--max-num-batched-tokens": "2048",
    "--kv-cache-memory-bytes": str(2**29),
    "--load-format": "safetensors",
    "--dtype": "float32",
}
"""What Tidegate's own worker of the same model has too; else everything is as `vllm serve` has it."""
FLAGS = (
    "--enforce-eager",
    "--enable-auto-tool-choice",
    "--enable-server-load-tracking",
    "--disable-uvicorn-access-log",
)
OFFLINE = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
START_S = 900.0
"""On a busy machine. Alone it takes a minute or two."""
ONE_THREAD = {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"}


def vllm_version() -> str:
    """The version of vLLM that is installed."""
    return version("vllm-cpu")


@contextmanager
def vllm_serve(folder: Path) -> Iterator[Target]:
    """Runs the server until the `with` block ends. folder: an empty one, for the model and the log."""
    model = PackagedSmolLM2().prepare(folder)
    port = free_port()
    options = [part for option in OPTIONS.items() for part in option]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += ["--port", str(port), *options, *FLAGS]
    preload = {"LD_PRELOAD": ":".join(Machine.detect().preload)}
    with server(command, port, "/health", folder.parent / "vllm.log", {**OFFLINE, **ONE_THREAD, **preload}, START_S):
        yield Target("vllm serve", f"http://127.0.0.1:{port}/v1", KEY, MODEL)
