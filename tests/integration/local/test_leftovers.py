"""Processes that outlived their supervisor are ended."""

import subprocess
import sys

import psutil
import pytest

from services.local import orphans
from services.local.cluster_record import Addresses, ClusterRecord, ProcessRecord

NEGLECTFUL = """
import subprocess, time
print(subprocess.Popen(["sleep", "600"], process_group=0).pid, flush=True)
time.sleep(600)
"""


def test_a_process_that_nobody_reaps_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphans, "_WAIT_S", 0.5)
    with subprocess.Popen([sys.executable, "-c", NEGLECTFUL], stdout=subprocess.PIPE, text=True) as parent:
        try:
            assert parent.stdout
            child = psutil.Process(int(parent.stdout.readline()))
            assert orphans.end(recorded(child)) == (1, [])
            assert child.status() == psutil.STATUS_ZOMBIE
        finally:
            parent.kill()


def recorded(process: psutil.Process) -> ClusterRecord:
    """A cluster of one process whose supervisor has ended."""
    began = process.create_time()
    one = ProcessRecord(
        name="worker-1", pid=process.pid, created=began, address="", state="running", restarts=0, log="worker-1.log"
    )
    return ClusterRecord(
        supervisor_pid=0,
        supervisor_created=0.0,
        state="running",
        addresses=Addresses(rest="", grpc="", redis="", s3="", routers=()),
        models=(),
        processes=(one,),
    )
