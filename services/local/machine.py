"""What this machine offers: programs, cores, and the libraries that make vLLM faster on a CPU."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from services.local import redis, s3
from services.shared import vllm_device

_SMI_S = 20.0


@dataclass(frozen=True, slots=True)
class Machine:
    """Facts about this machine.

    `redis` and `weed` are paths of programs. `preload` are shared libraries that a vLLM process on a CPU loads first.
    `gpus` are the GPUs as CUDA_VISIBLE_DEVICES names them; none if they could not be found out.
    """

    redis: str
    weed: str
    cores: int
    vllm_on_cpu: bool
    preload: tuple[str, ...]
    gpus: tuple[str, ...] = ()

    @classmethod
    def detect(cls) -> "Machine":
        """Looks at this machine.

        Raises:
            ClusterError: A program is missing.
        """
        on_cpu = vllm_device.on_cpu()
        return cls(redis.program(), s3.program(), _cores(), on_cpu, _preload(), () if on_cpu else visible_gpus())


def visible_gpus() -> tuple[str, ...]:
    """The NVIDIA GPUs that this process may use. Only nvidia-smi is asked: importing CUDA libraries takes seconds."""
    if (allowed := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return tuple(gpu.strip() for gpu in allowed.split(",") if gpu.strip())
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    question = (program, "--query-gpu=index", "--format=csv,noheader")
    try:
        answer = subprocess.run(question, capture_output=True, text=True, timeout=_SMI_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(answer.stdout.split())


def _preload() -> tuple[str, ...]:
    tcmalloc = sorted(Path("/usr/lib").glob("*/libtcmalloc_minimal.so.4"))[:1]
    openmp = [file for file in (Path(sys.prefix) / "lib" / "libiomp5.so",) if file.exists()]
    return tuple(str(file) for file in (*tcmalloc, *openmp))


def _cores() -> int:
    """The cores that this process may use, where the system can tell; else all cores."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
