"""A short drill of workers. `python -m tests.robustness.streams` runs long ones, and looks at the pauses too."""

from pathlib import Path

import pytest

from tests.robustness.cluster_under_test import cluster_under_test
from tests.robustness.invariant_checker import check
from tests.robustness.streams.drill import OPTIONS, SIMULATED, drill
from tests.robustness.streams.faults import Drained, Frozen, Killed
from tests.robustness.streams.requests import SIMULATED as PARAMETERS
from tests.robustness.streams.requests import requests

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

STREAMS = 12
STRIKES = 5
SEED = 20261121


async def test_streams_survive_workers_that_are_killed_frozen_or_drained(tmp_path: Path) -> None:
    choices = requests(PARAMETERS, prompts=1, seed=SEED)
    with cluster_under_test(tmp_path, SIMULATED, *OPTIONS) as cluster:
        # The longest fault first: the others are injected while it lasts.
        faults = [fault(cluster.injector) for fault in (Frozen, Killed, Drained, Killed, Drained)]
        run = await drill(cluster, faults, choices, streams=STREAMS, injections=STRIKES, every_s=0.5, seed=SEED)
    report = check(run)
    assert report.resumed > 0
    assert not report.violations, f"seed {SEED}: {report}"
