"""Specs of stand-in processes."""

import sys
from pathlib import Path

from services.local.process_spec import HttpProbe, ProcessSpec


def standin(port: int, behaviour: str = "", *, name: str = "standin", stop_limit_s: float = 5.0) -> ProcessSpec:
    program = Path(__file__).with_name("standin.py")
    return ProcessSpec(
        name=name,
        argv=(sys.executable, "-S", str(program), str(port), *([behaviour] if behaviour else [])),
        address=f"127.0.0.1:{port}",
        ready=HttpProbe(f"http://127.0.0.1:{port}/"),
        start_limit_s=60,
        stop_limit_s=stop_limit_s,
    )
