"""The parts of the benchmark: servers that it starts and ends, the mock worker, and the load generator."""

import sys
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from loadtests.bench import peers
from loadtests.bench.command import app
from loadtests.bench.load_generator import Load, LoadGenerator, RequestsFailed
from loadtests.bench.process import ServerDidNotStart, free_port, server
from loadtests.target import Target


@pytest.mark.parametrize("streamed", [True, False])
async def test_the_mock_worker_says_what_was_asked_for(tmp_path: Path, streamed: bool) -> None:
    with peers.mock_worker(0.001, tmp_path / "log") as (target, process):
        generator = LoadGenerator(target, "bench", [process])
        measured = await generator.run(Load(requests=20, concurrency=4, tokens=8, streamed=streamed))
        generator.close()
    assert measured.tokens == 20 * 8
    assert len(measured.samples) == 20
    assert measured.cpu_s[0] >= 0
    if streamed:
        assert measured.tokens_per_event == 1
        assert measured.ttft_ms > 0
    assert not psutil.pid_exists(process.pid)


async def test_failed_requests_give_no_figures() -> None:
    nobody = Target.of(f"http://127.0.0.1:{free_port()}/v1", "sk-bench")
    with pytest.raises(RequestsFailed):
        await LoadGenerator(nobody, "bench", []).run(Load(requests=1, concurrency=1, tokens=1, streamed=True))


def test_a_server_that_ends_says_why(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such model')"]
    with (
        pytest.raises(ServerDidNotStart, match="no such model"),
        server(command, free_port(), "/health", tmp_path / "log"),
    ):
        pass


def test_an_environment_without_peers_is_named(tmp_path: Path) -> None:
    with pytest.raises(peers.NoPeers, match=tmp_path.name):
        peers.programs(tmp_path)


def test_a_checkout_without_an_environment_is_told_what_to_do(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["--against", str(tmp_path)], env={"COLUMNS": "300"})
    assert result.exit_code == 2
    assert "run `make setup` there" in result.output
