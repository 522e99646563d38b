"""Other routers: vllm-router, which the goals name, and others that are measured if they are installed."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import psutil

from loadtests.bench.peers import KEY
from loadtests.bench.process import free_port, server
from loadtests.target import Target

Running = AbstractContextManager[tuple[Target, psutil.Process]]
Start = Callable[[Target, str, Path], Running]
"""Starts a router. Arguments: the worker behind it, the name of the model, the file for its log."""


def installed(programs: Path | None) -> dict[str, Start]:
    """The routers whose program is in the folder `programs`, by name."""
    known = {"vllm-router": vllm_router, "smg": smg, "litellm": litellm}
    return {
        name: partial(start, programs)
        for name, start in known.items()
        if programs and os.access(programs / name, os.X_OK)
    }


def vllm_router(programs: Path, worker: Target, model: str, log: Path) -> Running:
    """Runs vllm-router."""
    return _rust(programs / "vllm-router", [], worker, log)


def smg(programs: Path, worker: Target, model: str, log: Path) -> Running:
    """Runs smg."""
    return _rust(programs / "smg", ["launch"], worker, log)


@contextmanager
def litellm(programs: Path, worker: Target, model: str, log: Path) -> Iterator[tuple[Target, psutil.Process]]:
    """Runs LiteLLM's proxy in one process. Its configuration file lies beside the log."""
    upstream = {"model": f"openai/{model}", "api_base": worker.base_url, "api_key": KEY}
    config = log.with_suffix(".json")
    config.write_text(json.dumps({"model_list": [{"model_name": model, "litellm_params": upstream}]}))
    port = free_port()
    command = [str(programs / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    environment = {
        "LITELLM_MASTER_KEY": KEY,
        "LITELLM_LOG": "ERROR",
        "LITELLM_TELEMETRY": "False",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    with server(command, port, "/health/liveliness", log, environment) as process:
        yield Target.of(f"http://127.0.0.1:{port}/v1", KEY), process


@contextmanager
def _rust(program: Path, arguments: list[str], worker: Target, log: Path) -> Iterator[tuple[Target, psutil.Process]]:
    """vllm-router and smg descend from SGLang's router and have its options."""
    port = free_port()
    command = [str(program), *arguments, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--worker-urls", f"http://{worker.host}:{worker.port}", "--policy", "round_robin"]
    command += ["--prometheus-port", str(free_port()), "--log-level", "error"]
    with server(command, port, "/health", log) as process:
        yield Target.of(f"http://127.0.0.1:{port}/v1", KEY), process
