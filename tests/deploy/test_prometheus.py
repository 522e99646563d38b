"""A real Prometheus: it takes our files, its alerts fire when they should, the dashboards show a running cluster."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from openai import AsyncOpenAI

from services.local.ports import Ports
from tests.deploy.observability import RULES, dashboard_queries, with_all
from tests.support.cluster import RunningCluster
from tests.support.wait import wait_until

# The first test waits for Prometheus itself.
pytestmark = pytest.mark.timeout(600)

SILENT = {
    "vllm:": "the engines are simulated (test_metric_names.py looks the names up in vLLM)",
    "llm_gpu_memory_bytes": "there is no GPU",
    "tidegate_gateway_retries_total": "no worker fails",
    "_draft": "no pool of the cluster speculates",
    'model=~".+:.+"': "the cluster has no adapters",
}
"""What queries hold that find nothing here, and why."""

JOB_FIGURES = ("loss", "learning_rate", "gradient_norm", "tokens_per_second", "memory_bytes", "mfu_ratio")
QUIET = (
    *("swap_seconds", "delivery_gap_seconds", "resume_gap_seconds"),
    *(f"tidegate_trainer_{name}" for name in JOB_FIGURES),
)
"""What does not happen here: histograms are there and have no quantiles; figures of a training job are NaN."""


def promtool(tools: dict[str, str], *arguments: str) -> None:
    run = subprocess.run(["promtool", *arguments], env=tools, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr


def test_rules_are_sound(tools: dict[str, str]) -> None:
    promtool(tools, "check", "rules", *map(str, RULES))


@pytest.mark.parametrize("file", ["prometheus.yml", "prometheus-local.yml"])
def test_configurations_are_sound(tools: dict[str, str], file: str) -> None:
    promtool(tools, "check", "config", f"docker/{file}")


def test_alerts_fire_when_they_should(tools: dict[str, str]) -> None:
    promtool(tools, "test", "rules", "tests/deploy/alerts_test.yaml")


@pytest.mark.cluster
async def test_every_panel_shows_a_running_cluster(
    tools: dict[str, str], simulated: RunningCluster, tmp_path: Path, ports: Ports
) -> None:
    with prometheus(tools, simulated, tmp_path, ports.free()) as url:
        async with httpx.AsyncClient(base_url=url) as http:
            await wait_until(lambda: all_are_up(http), description="everything is scraped", timeout=60)
            async with asking(simulated):
                for panel, query in dashboard_queries().items():
                    if not any(name in query for name in SILENT):
                        await wait_until(partial(shows, http, query), description=f"{panel} has data", timeout=60)


@asynccontextmanager
async def asking(cluster: RunningCluster) -> AsyncIterator[None]:
    """Asks one question after the other."""

    async def ask() -> None:
        async with AsyncOpenAI(base_url=cluster.rest, api_key=cluster.key) as client:
            while True:
                await client.completions.create(model="tide", prompt="Where does the tide go? " * 20, max_tokens=10)

    task = asyncio.create_task(ask())
    try:
        yield
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def all_are_up(http: httpx.AsyncClient) -> bool:
    up = {sample["metric"]["component"]: sample["value"][1] for sample in await query(http, "up")}
    return {"gateway", "router", "worker"} <= set(up) and set(up.values()) == {"1"}


async def shows(http: httpx.AsyncClient, expression: str) -> bool:
    values = [sample["value"][1] for sample in await query(http, with_all(expression))]
    quiet = any(name in expression for name in QUIET)
    return bool(values) and (quiet or any(value != "NaN" for value in values))


async def query(http: httpx.AsyncClient, expression: str) -> list[Any]:
    answer = await http.get("/api/v1/query", params={"query": expression})
    document = answer.json()
    assert document["status"] == "success", document
    return list(document["data"]["result"])


@contextmanager
def prometheus(tools: dict[str, str], cluster: RunningCluster, folder: Path, port: int) -> Iterator[str]:
    """The configuration that people are given, in more of a hurry. Yields its URL."""
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(configuration(cluster)))
    command = ["prometheus", f"--config.file={file}", f"--storage.tsdb.path={folder / 'prometheus'}"]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(
            [*command, f"--web.listen-address=127.0.0.1:{port}"], env=tools, stdout=log, stderr=log
        )
    try:
        until_ready(process, f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=10)


def configuration(cluster: RunningCluster) -> dict[str, Any]:
    document = dict(yaml.safe_load(Path("docker/prometheus-local.yml").read_text()))
    document["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    document["rule_files"] = [str(file.absolute()) for file in RULES]
    (job,) = document["scrape_configs"]
    (found,) = job["file_sd_configs"]
    found["files"] = [str(cluster.folder / Path(found["files"][0]).relative_to(".."))]
    return document


def until_ready(process: subprocess.Popen[bytes], url: str) -> None:
    transport = httpx.HTTPTransport(retries=8)
    with httpx.Client(transport=transport, base_url=url, timeout=10) as http:
        assert http.get("/-/healthy").status_code == 200
    assert process.poll() is None
