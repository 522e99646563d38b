"""The command, as people and CI call it."""

import asyncio
import sys
from pathlib import Path

import yaml

from loadtests.report import Report
from tests.integration.loadtests.server import Exchange, right, serving
from tests.integration.loadtests.test_client import break_stream
from tests.unit.loadtests.samples import profile


async def loadtests(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "loadtests", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_a_run_reports_compares_and_fails_when_it_should(tmp_path: Path) -> None:
    async def break_each_tenth(exchange: Exchange) -> None:
        await (right(exchange) if exchange.number % 10 else break_stream(exchange))

    file = tmp_path / "p.yaml"
    load = {"arrivals": {"process": "poisson", "rate": 10}, "duration_s": 100}
    file.write_text(yaml.safe_dump(profile(**load).model_dump(mode="json")))
    async with serving(break_each_tenth) as server:
        access = ["--base-url", server.target.base_url, "--api-key", "key"]
        changes = ["--duration", "1", "--rate", "40", "--seed", "3", "--report", str(tmp_path / "a")]
        status, out, err = await loadtests("run", str(file), *access, *changes, "--strict", "--require-goodput", "0.95")
    found = Report.read(tmp_path / "a")
    assert status == 1, out + err
    assert "95.00% is required" in err
    assert f"{found.unexpected} unexpected errors" in err
    assert found.total.outcomes["ok"] + found.unexpected == found.total.due > 20
    assert (found.model, found.profile.seed, found.profile.duration_s) == ("tide", 3, 1)
    assert "TTFT ms" in out
    assert (tmp_path / "a/report.html").read_text().startswith("<!doctype html>")

    status, out, _ = await loadtests("compare", str(tmp_path / "a"), str(tmp_path / "a/report.json"))
    assert status == 0
    assert "1.00x" in out
    assert "not the same" not in out


async def test_what_cannot_be_run_is_said_in_one_line(tmp_path: Path) -> None:
    steady = "loadtests/profiles/steady.yaml"
    unreachable = loadtests("run", steady, "--base-url", "http://127.0.0.1:1/v1", "--api-key", "k")
    no_cluster = loadtests("run", steady, "--local-env", str(tmp_path / "none"))
    (status, _, err), (wrong, _, told) = await asyncio.gather(unreachable, no_cluster)
    assert (status, wrong) == (1, 2)
    assert err.startswith("loadtests: http://127.0.0.1:1/v1 cannot be reached")
    assert "no cluster was started" in told
