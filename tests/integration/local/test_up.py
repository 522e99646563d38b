"""`tidegate up` and `down` with whole clusters on the simulated engine."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.local.ports import HOST
from tests.support.processes import living

TIDEGATE = (sys.executable, "-P", "-m", "services.cli")
# Room for a slow machine that runs other tests too; the budget itself is 20 s.
LIMIT_S = 240.0


def tidegate(folder: Path, *arguments: str, said: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*TIDEGATE, *arguments], cwd=folder, input=said, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )


def started(folder: Path, *arguments: str) -> dict[str, Any]:
    """A detached cluster's status."""
    up = tidegate(folder, "up", "--engine", "simulated", "--detach", *arguments)
    assert up.returncode == 0, up.stderr
    return dict(json.loads(tidegate(folder, "status", "--json").stdout))


@contextmanager
def in_foreground(folder: Path) -> "Iterator[subprocess.Popen[str]]":
    """`tidegate up` when its cluster is ready. The test must stop it; the fixture waits for its end."""
    command = [*TIDEGATE, "up", "--engine", "simulated"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as up:
        assert up.stdout
        assert any("Ctrl-C stops it" in line for line in up.stdout)
        yield up


def groups(status: dict[str, Any]) -> set[int]:
    return {process["pid"] for process in status["processes"]}


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_the_life_of_a_detached_cluster(tmp_path: Path) -> None:
    status = started(tmp_path, "--workers", "2", "--routers", "2")
    try:
        assert status["state"] == "running"
        names = {process["name"] for process in status["processes"]}
        assert names == {"redis", "s3", "router-1", "router-2", "worker-1", "worker-2", "gateway", "trainer"}
        assert all(process["state"] == "running" and process["pid"] for process in status["processes"])
        # Linux shares out the cores between sessions first: engines of different ones keep each other waiting.
        assert {os.getsid(leader) for leader in groups(status)} == {os.getsid(status["supervisor"]["pid"])}
        workers = {process["pid"] for process in status["processes"] if process["name"].startswith("worker")}
        assert {worker["pid"] for worker in status["workers"]} == workers
        assert {worker["state"] for worker in status["workers"]} == {"ready"}

        second = tidegate(tmp_path, "up", "--engine", "simulated", "--detach")
        assert second.returncode == 1
        assert "already running" in second.stderr

        talk = tidegate(tmp_path, "chat", said="hello\nand again\n")
        assert talk.returncode == 0, talk.stderr
        assert len(talk.stdout.splitlines()) >= 2
        assert talk.stderr.count("tokens") == 2

        listed = json.loads(tidegate(tmp_path, "models", "list", "--json").stdout)
        assert [(model["model"], model["aliases"]) for model in listed] == [("simulated", ["candidate", "latest"])]
    finally:
        down = tidegate(tmp_path, "down")
    assert down.returncode == 0, down.stderr
    assert living(groups(status)) == []
    assert tidegate(tmp_path, "status").returncode == 3
    assert "nothing is running" in tidegate(tmp_path, "down").stderr


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_keys_and_models_outlive_a_killed_supervisor_and_ctrl_c_stops_the_next_one(tmp_path: Path) -> None:
    status = started(tmp_path)
    keys = (tmp_path / ".tidegate" / "secrets.json").read_text()
    os.kill(status["supervisor"]["pid"], signal.SIGKILL)
    assert tidegate(tmp_path, "status").returncode == 3
    assert tidegate(tmp_path, "down").returncode == 0
    assert living(groups(status)) == []

    with in_foreground(tmp_path) as up:
        again = json.loads(tidegate(tmp_path, "status", "--json").stdout)
        assert (tmp_path / ".tidegate" / "secrets.json").read_text() == keys
        assert again["workers"][0]["version"] == status["workers"][0]["version"]
        assert httpx.get(f"http://{again['addresses']['rest']}/readyz").status_code == 200
        up.send_signal(signal.SIGINT)
        assert up.wait(LIMIT_S) == 0
    assert living(groups(again)) == []
    assert not (tmp_path / ".tidegate" / "cluster.json").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--engine", "tgi"], "--engine = 'tgi'"),
        (["--workers", "0"], "--workers = 0"),
        (["--model", "No Such"], "--model = 'No Such'"),
        (["--config", "none.yaml"], "none.yaml"),
        (["--data-dir", "full"], "--data-dir = "),
    ],
)
@pytest.mark.parametrize("detach", [[], ["--detach"]], ids=["foreground", "detached"])
def test_a_wrong_option_stops_the_start_with_its_value(
    tmp_path: Path, arguments: list[str], said: str, detach: list[str]
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    up = tidegate(tmp_path, "up", *arguments, *detach)
    assert up.returncode == 2
    assert said in up.stderr
    assert "Traceback" not in up.stderr


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = str(taken.getsockname()[1])
        up = tidegate(tmp_path, "up", "--engine", "simulated", "--grpc-port", port, "--detach")
    assert up.returncode == 2
    assert f"--grpc-port = {port}: another process listens there" in up.stderr


@pytest.mark.timeout(120)
def test_a_model_that_nobody_has_fails_the_start_and_leaves_nothing(tmp_path: Path) -> None:
    up = tidegate(tmp_path, "up", "--model", "nobody-has-it", "--detach")
    assert up.returncode == 1
    assert "the registry has no nobody-has-it@latest" in up.stderr
    assert tidegate(tmp_path, "status").returncode == 3
    assert not (tmp_path / ".tidegate" / "cluster.json").exists()
