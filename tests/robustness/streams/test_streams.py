"""A short drill. `python -m tests.robustness.streams` runs the long ones, and looks at the gaps too."""

from pathlib import Path

import pytest

from tests.robustness.arena import arena
from tests.robustness.streams.drill import OPTIONS, SIMULATED, drill
from tests.robustness.streams.faults import Drained, Frozen, Killed
from tests.robustness.streams.questions import SIMULATED as PARAMETERS
from tests.robustness.streams.questions import questions
from tests.robustness.verdict import judge

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

STREAMS = 20
STRIKES = 5
SEED = 20261121


async def test_streams_outlive_workers_that_are_killed_frozen_or_told_to_leave(tmp_path: Path) -> None:
    asked = questions(PARAMETERS, prompts=1, seed=SEED)
    with arena(tmp_path, SIMULATED, *OPTIONS) as built:
        # The longest first: others are struck meanwhile.
        faults = [fault(built.crew) for fault in (Frozen, Killed, Drained, Killed, Drained)]
        run = await drill(built, faults, asked, streams=STREAMS, strikes=STRIKES, every_s=0.5, seed=SEED)
    verdict = judge(run)
    assert verdict.resumed > 0
    assert not verdict.complaints, f"seed {SEED}: {verdict}"
