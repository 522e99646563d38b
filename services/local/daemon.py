"""A supervisor of its own, detached from any terminal: options come in as JSON, events go out as JSON lines.

`start` is what the command calls; `main` is the process.
"""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from services.cli.errors import CommandFailed
from services.local.data_folder import DataFolder
from services.local.events import Event, Report
from services.local.options import UpOptions
from services.local.process import tail

log = logging.getLogger(__name__)


def start(options: UpOptions, report: Report) -> None:
    """Returns when the cluster is ready, and it runs on. Raises CommandFailed. Interrupted: stops it again."""
    folder = DataFolder.at(options.data_dir)
    with _daemon(options, folder) as process:
        last = _follow(process, report)
        if last is None:
            process.wait()
            log_file = folder.log("supervisor")
            raise CommandFailed(f"the supervisor ended. The end of its log, {log_file}:\n{tail(log_file)}")
        if last.kind == "failed":
            process.wait()
            raise CommandFailed(last.detail, status=last.status)


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
    """Passes events on until one decides the start; None when there was none."""
    for line in process.stdout or ():
        event = Event.model_validate_json(line)
        report(event)
        if event.kind in ("ready", "failed"):
            return event
    return None


def main() -> None:
    from services.local.foreground import failure, log_to_folder, supervise

    options = UpOptions.model_validate_json(sys.stdin.read())
    log_to_folder(DataFolder.at(options.data_dir))
    try:
        supervise(options, _write)
    except CommandFailed as error:
        log.error("%s", error)
        _write(failure(error))
        raise SystemExit(error.status) from None


def _write(event: Event) -> None:
    """To the command that waits; once it has left, nobody is told."""
    try:
        sys.stdout.write(event.model_dump_json() + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        _hush()
    if event.kind == "ready":
        _hush()


def _hush() -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)


if __name__ == "__main__":
    main()
