"""Short drills of gateway restarts. `python -m tests.robustness.gateways` runs long ones."""

import asyncio
from pathlib import Path

import pytest

from tests.deploy.installation import Installation
from tests.robustness.cluster_under_test import ClusterUnderTest
from tests.robustness.gateways.balancer import PROGRAM, found
from tests.robustness.gateways.drill import balanced, drill
from tests.robustness.gateways.upgrade import REPLACED, answering
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


async def test_an_upgrade_replaces_one_process_after_another(tmp_path: Path) -> None:
    """`python -m tests.robustness.gateways` does it under load."""

    async def all_is_well(arguments: list[str]) -> int:
        return 0

    installation = Installation.make(tmp_path, {})
    async with answering(all_is_well, tmp_path) as socket:
        done = await asyncio.to_thread(Installation(installation.root, {}, socket).script, "upgrade.sh")
    assert done.returncode == 0, done.stderr
    built, *replaced = installation.calls()
    assert built == ["build"]
    assert [call[-1] for call in replaced] == list(REPLACED)
    assert all({"--no-deps", "--no-build", "--wait"} <= set(call) for call in replaced)


async def test_an_upgrade_stops_at_the_first_process_that_is_not_healthy(tmp_path: Path) -> None:
    installation = Installation.make(tmp_path, {})

    async def one_fails(arguments: list[str]) -> int:
        return int(arguments[-1] == "router-2")

    async with answering(one_fails, tmp_path) as socket:
        failed = await asyncio.to_thread(Installation(installation.root, {}, socket).script, "upgrade.sh")
    assert failed.returncode == 1
    assert "router-2 is not healthy; nothing after it was changed" in failed.stderr
    assert [call[-1] for call in installation.calls()] == ["build", "router-1", "router-2"]
