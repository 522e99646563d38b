"""Processes of a cluster that outlived their supervisor."""

import os
from pathlib import Path

import psutil

from services.local.cluster_record import ClusterRecord

_CLOCK_SLACK_S = 2.0
_WAIT_S = 10.0


def find(record: ClusterRecord) -> list[psutil.Process]:
    """The recorded processes that still run, and the processes that they started.

    The system may give the pid of an ended process to another one; the start time tells the two apart.
    """
    began = {process.pid: process.created for process in record.processes if process.pid and process.created}
    return [process for process in psutil.process_iter() if _belongs(process, began)]


def end(record: ClusterRecord) -> tuple[int, list[psutil.Process]]:
    """Kills the orphans and removes their leftover files.

    Returns:
        How many orphans there were, and those that still run.
    """
    found = find(record)
    for process in found:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    _, alive = psutil.wait_procs(found, timeout=_WAIT_S)
    for path in (path for process in record.processes for path in process.leftover_files):
        Path(path).unlink(missing_ok=True)
    return len(found), [process for process in alive if _runs(process)]


def _runs(process: psutil.Process) -> bool:
    """A zombie counts as ended: only its parent has not read its exit status yet."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _belongs(process: psutil.Process, began: dict[int, float]) -> bool:
    try:
        leader = os.getpgid(process.pid)
        if leader not in began or not _runs(process):
            return False
        age = process.create_time() - began[leader]
    except (psutil.Error, ProcessLookupError, PermissionError):
        return False
    return abs(age) < _CLOCK_SLACK_S if process.pid == leader else age > -_CLOCK_SLACK_S
