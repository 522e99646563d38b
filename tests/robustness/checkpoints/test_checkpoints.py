"""The short drill: `python -m tests.robustness.checkpoints` tries a thousand."""

from pathlib import Path

import pytest

from tests.robustness.checkpoints.drill import NAN, drill
from tests.robustness.checkpoints.mutations import KINDS, mutant

pytestmark = pytest.mark.timeout(300)
EACH = 2


async def test_no_mutated_checkpoint_is_loaded_and_the_old_version_answers(tmp_path: Path) -> None:
    kinds = (*KINDS, NAN)
    report = await drill(tmp_path, EACH * len(kinds), seed=1)
    assert report.violations == []
    assert report.refused == dict.fromkeys(kinds, EACH)


def test_a_seed_makes_the_same_again_and_another_seed_another() -> None:
    for kind in KINDS:
        assert mutant(kind, 1) == mutant(kind, 1) != mutant(kind, 2)
