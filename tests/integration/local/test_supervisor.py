"""The supervisor with small real processes."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import psutil
import pytest

from services.local.cluster_record import ProcessRecord
from services.local.data_folder import DataFolder
from services.local.errors import ClusterError
from services.local.ports import Ports
from services.local.process import Launcher
from services.local.supervisor import START_TRIES, Supervisor
from services.shared.clock import SystemClock
from tests.integration.local.specs import standin
from tests.support.processes import is_gone, living
from tests.support.wait import wait_until

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    made = DataFolder.at(tmp_path / "data")
    made.prepare()
    return made


@pytest.fixture
async def supervisor(folder: DataFolder) -> AsyncIterator[Supervisor]:
    made = Supervisor(Launcher(folder, {}), clock=SystemClock(), random=Random(1), changed=lambda: None)
    yield made
    await made.stop()


@pytest.fixture
def port(ports: Ports) -> int:
    return ports.free()


def only(supervisor: Supervisor) -> ProcessRecord:
    (record,) = supervisor.records()
    return record


async def test_a_process_that_dies_is_started_again_and_its_log_says_why(
    supervisor: Supervisor, folder: DataFolder, port: int
) -> None:
    await supervisor.start([standin(port)])
    first = only(supervisor)
    assert first.state == "running"
    assert first.pid
    os.kill(first.pid, signal.SIGKILL)
    await wait_until(
        lambda: only(supervisor).state == "running" and only(supervisor).restarts == 1, description="it runs again"
    )
    assert only(supervisor).pid != first.pid
    assert "was killed by SIGKILL; starts again in" in folder.log("standin").read_text()


async def test_what_a_dead_process_had_started_is_ended_with_it(supervisor: Supervisor, port: int) -> None:
    await supervisor.start([standin(port, "parent")])
    leader = only(supervisor).pid
    assert leader
    await wait_until(lambda: len(living({leader})) == 2, description="it has a child")
    os.kill(leader, signal.SIGKILL)
    await wait_until(lambda: living({leader}) == [], description="the child is gone too")


async def test_stop_leaves_nothing_of_a_deaf_process(supervisor: Supervisor, port: int) -> None:
    await supervisor.start([standin(port, "deaf", stop_limit_s=0.2)])
    leader = only(supervisor).pid
    assert leader
    await supervisor.stop()
    assert living({leader}) == []


async def test_wrong_configuration_fails_the_start_at_once_with_its_message(supervisor: Supervisor, port: int) -> None:
    with pytest.raises(ClusterError, match="TIDEGATE_POOL = 'x'") as failed:
        await supervisor.start([standin(port, "wrong")])
    assert failed.value.status == 2
    assert (only(supervisor).state, only(supervisor).restarts) == ("failed", 0)


async def test_what_never_becomes_ready_is_given_up(supervisor: Supervisor, port: int) -> None:
    with pytest.raises(ClusterError, match="out of luck"):
        await supervisor.start([standin(port, "dies")])
    assert only(supervisor).restarts == START_TRIES - 1


async def test_another_process_that_answers_at_its_port_is_not_taken_for_it(supervisor: Supervisor, port: int) -> None:
    await supervisor.start([standin(port, name="first")])
    with pytest.raises(ClusterError, match=r"(?s)second .*Address already in use"):
        await supervisor.start([standin(port, name="second")])


async def test_the_last_stage_stops_first(folder: DataFolder, ports: Ports) -> None:
    order: list[str] = []

    def note() -> None:
        order.extend(record.name for record in staged.records() if record.state == "stopped")

    staged = Supervisor(Launcher(folder, {}), clock=SystemClock(), random=Random(1), changed=note)
    for name in ("first", "second"):
        await staged.start([standin(ports.free(), name=name)])
    await staged.stop()
    assert order == ["second", "first"]
    assert staged.records() == ()


@pytest.mark.skipif(sys.platform != "linux", reason="the signal for it is Linux's")
async def test_kill_9_of_the_supervisor_leaves_no_orphan(tmp_path: Path, port: int) -> None:
    supervised = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.local.supervised", str(tmp_path / "data"), str(port), "deaf"),
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
    )
    assert supervised.stdout
    child = psutil.Process(int(await supervised.stdout.readline()))
    supervised.kill()
    await supervised.wait()
    await wait_until(lambda: is_gone(child), description="the child has followed")
