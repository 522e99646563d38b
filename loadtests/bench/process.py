"""Server processes of the benchmark: start, wait until ready, measure CPU time, end."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

START_S = 180.0
STOP_S = 15.0
TRY_EVERY_S = 0.1
SHOWN_CHARACTERS = 2000
OWN_CODE = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
"""Environment of a server that runs the code of this checkout."""


class ServerDidNotStart(Exception):
    """A server did not start. The message ends with the last lines of its log."""


def free_port() -> int:
    """A free port on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def server(
    command: Sequence[str],
    port: int,
    path: str,
    log: Path,
    environment: Mapping[str, str] | None = None,
    start_s: float = START_S,
) -> Iterator[psutil.Process]:
    """Runs a server until the `with` block ends.

    Args:
        command: The command line.
        port: Port on loopback.
        path: The server is ready when GET of this path answers 200.
        log: File for its output.
        environment: Variables that are added to the environment.
        start_s: Seconds within which it must be ready.

    Raises:
        ServerDidNotStart: It ended, or was not ready in time.
    """
    with log.open("w") as output:
        process = subprocess.Popen(  # noqa: S603 (a fixed command)
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
        try:
            if not _answers(process, f"http://127.0.0.1:{port}{path}", start_s):
                raise ServerDidNotStart(
                    f"{' '.join(command[:3])} did not start:\n{log.read_text()[-SHOWN_CHARACTERS:]}"
                )
            yield psutil.Process(process.pid)
        finally:
            _end(process)


def cpu_s(processes: Sequence[psutil.Process]) -> float:
    """CPU seconds that the processes have used, without their children."""
    times = [process.cpu_times() for process in processes]
    return float(sum(each.user + each.system for each in times))


def _answers(process: "subprocess.Popen[bytes]", url: str, start_s: float) -> bool:
    give_up = time.monotonic() + start_s
    while time.monotonic() < give_up and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=1):  # noqa: S310 (our own address)
                return True
        except OSError:
            time.sleep(TRY_EVERY_S)
    return False


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ends the server and everything that it started."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
