"""What the benchmark stands on: servers that it starts and ends, the mock worker, and one load for all."""

import sys
from pathlib import Path

import psutil
import pytest

from loadtests.bench import peers
from loadtests.bench.asking import Asker, Load, WrongAnswers
from loadtests.bench.process import DidNotStart, free_port, server
from loadtests.target import Target


@pytest.mark.parametrize("streamed", [True, False])
async def test_the_mock_worker_says_what_was_asked_for(tmp_path: Path, streamed: bool) -> None:
    with peers.mock_worker(0.001, tmp_path / "log") as (target, process):
        asker = Asker(target, "bench", [process])
        measured = await asker.ask(Load(requests=20, at_once=4, tokens=8, streamed=streamed))
        asker.close()
    assert measured.tokens == 20 * 8
    assert len(measured.samples) == 20
    assert measured.cpu_s[0] >= 0
    if streamed:
        assert measured.tokens_per_event == 1
        assert measured.ttft_ms > 0
    assert not psutil.pid_exists(process.pid)


async def test_wrong_answers_are_no_figures() -> None:
    nobody = Target.of(f"http://127.0.0.1:{free_port()}/v1", "sk-bench")
    with pytest.raises(WrongAnswers):
        await Asker(nobody, "bench", []).ask(Load(requests=1, at_once=1, tokens=1, streamed=True))


def test_a_server_that_ends_says_why(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such model')"]
    with pytest.raises(DidNotStart, match="no such model"), server(command, free_port(), "/health", tmp_path / "log"):
        pass


def test_an_environment_without_peers_is_named(tmp_path: Path) -> None:
    with pytest.raises(peers.NoPeers, match=tmp_path.name):
        peers.programs(tmp_path)
