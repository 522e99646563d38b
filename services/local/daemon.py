"""A supervisor in a process of its own, detached from the terminal.

The options come in as JSON; the events go out as JSON lines. The command calls `start`; `main` is the process.
"""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from services.local.data_folder import DataFolder
from services.local.errors import ClusterError
from services.local.events import Event, Report
from services.local.options import UpOptions
from services.local.process import tail

log = logging.getLogger(__name__)


def start(options: UpOptions, report: Report) -> None:
    """Starts a cluster and returns when it is ready. The cluster keeps running. Ctrl-C during the start stops it.

    Raises:
        ClusterError: The cluster cannot start.
    """
    folder = DataFolder.at(options.data_dir)
    with _daemon(options, folder) as process:
        last = _follow(process, report)
        if last is None:
            process.wait()
            log_file = folder.log("supervisor")
            raise ClusterError(f"the supervisor ended. The end of its log, {log_file}:\n{tail(log_file)}")
        if last.kind == "failed":
            process.wait()
            raise ClusterError(last.detail, status=last.status)


@contextmanager
def _daemon(options: UpOptions, folder: DataFolder) -> "Iterator[subprocess.Popen[str]]":
    folder.prepare()
    with folder.log("supervisor").open("a") as log_file:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "services.local.daemon"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log_file,
            text=True,
            cwd=folder.root,
            start_new_session=True,
        )
    try:
        if process.stdin:
            process.stdin.write(options.model_dump_json())
            process.stdin.close()
        yield process
    except KeyboardInterrupt:
        process.send_signal(signal.SIGTERM)
        process.wait()
        raise
    finally:
        if process.stdout:
            process.stdout.close()


def _follow(process: "subprocess.Popen[str]", report: Report) -> Event | None:
    """Reports events until the start has succeeded or failed. None when the supervisor ended without such an event."""
    for line in process.stdout or ():
        event = Event.model_validate_json(line)
        report(event)
        if event.kind in ("ready", "failed"):
            return event
    return None


def main() -> None:
    """Runs the supervisor; the options come from standard input."""
    from services.local.foreground import failure, log_to_folder, supervise

    options = UpOptions.model_validate_json(sys.stdin.read())
    log_to_folder(DataFolder.at(options.data_dir))
    try:
        supervise(options, _write)
    except ClusterError as error:
        log.error("%s", error)
        _write(failure(error))
        raise SystemExit(error.status) from None


def _write(event: Event) -> None:
    """Writes the event for the waiting command. After the start, or when the command has ended, output is discarded."""
    try:
        sys.stdout.write(event.model_dump_json() + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
    if event.kind == "ready":
        _discard_output()


def _discard_output() -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)


if __name__ == "__main__":
    main()
