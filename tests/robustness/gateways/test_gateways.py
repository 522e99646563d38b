"""Short drills of gateway restarts. `python -m tests.robustness.gateways` runs long ones."""

import asyncio
from pathlib import Path

import pytest

from tests.deploy.installation import Installation
from tests.robustness.cluster_under_test import ClusterUnderTest
from tests.robustness.gateways.balancer import PROGRAM, found
from tests.robustness.gateways.drill import balanced, drill
from tests.robustness.gateways.upgrade import answering, upgrade
from tests.robustness.invariant_checker import check

SEED = 20261121


@pytest.mark.cluster
@pytest.mark.timeout(180)
@pytest.mark.skipif(found() is None, reason=f"no {PROGRAM} on this machine")
async def test_no_request_fails_when_gateways_restart_one_after_another(
    replicated_cluster: ClusterUnderTest, tmp_path: Path
) -> None:
    with balanced(replicated_cluster, tmp_path) as gateways:
        run = await drill(gateways, restarts=2, streams=8, seed=SEED)
    report = check(run)
    assert report.requests > 0
    assert not report.violations, f"seed {SEED}: {report}"


@pytest.mark.cluster
@pytest.mark.timeout(240)
@pytest.mark.skipif(found() is None, reason=f"no {PROGRAM} on this machine")
async def test_no_request_fails_during_an_upgrade_of_docker_compose(
    replicated_cluster: ClusterUnderTest, tmp_path: Path
) -> None:
    with balanced(replicated_cluster, tmp_path) as gateways:
        run, calls = await upgrade(gateways, tmp_path, streams=4, seed=SEED)
    report = check(run)
    assert report.requests > 0
    assert not report.violations, f"seed {SEED}: {report}"
    assert calls[0] == ["build"]
    replaced = [call[-1] for call in calls[1:]]
    assert replaced == [
        "router-1",
        "router-2",
        "gateway-1",
        "gateway-2",
        "worker-cpu",
        "trainer-cpu",
        "prometheus",
        "grafana",
    ]
    assert all({"--no-deps", "--no-build", "--wait"} <= set(call) for call in calls[1:])


async def test_an_upgrade_stops_at_the_first_process_that_is_not_healthy(tmp_path: Path) -> None:
    installation = Installation.make(tmp_path, {})

    async def one_fails(arguments: list[str]) -> int:
        return int(arguments[-1] == "router-2")

    async with answering(one_fails, tmp_path) as socket:
        failed = await asyncio.to_thread(Installation(installation.root, {}, socket).script, "upgrade.sh")
    assert failed.returncode == 1
    assert "router-2 is not healthy; nothing after it was changed" in failed.stderr
    assert [call[-1] for call in installation.calls()] == ["build", "router-1", "router-2"]
