"""What this machine offers: programs, cores, and the libraries that make vLLM faster on a CPU."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from services.local import redis, s3
from services.shared import vllm_device


@dataclass(frozen=True, slots=True)
class Machine:
    """Facts about this machine.

    `redis` and `weed` are paths of programs. `preload` are shared libraries that a vLLM process on a CPU loads first.
    """

    redis: str
    weed: str
    cores: int
    vllm_on_cpu: bool
    preload: tuple[str, ...]

    @classmethod
    def detect(cls) -> "Machine":
        """Looks at this machine.

        Raises:
            ClusterError: A program is missing.
        """
        return cls(redis.program(), s3.program(), _cores(), vllm_device.on_cpu(), _preload())


def _preload() -> tuple[str, ...]:
    tcmalloc = sorted(Path("/usr/lib").glob("*/libtcmalloc_minimal.so.4"))[:1]
    openmp = [file for file in (Path(sys.prefix) / "lib" / "libiomp5.so",) if file.exists()]
    return tuple(str(file) for file in (*tcmalloc, *openmp))


def _cores() -> int:
    """The cores that this process may use, where the system can tell; else all cores."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
