"""What the short drills share."""

from collections.abc import Iterator

import pytest

from tests.robustness.accounted import Accounted, accounted
from tests.robustness.arena import Arena, arena
from tests.robustness.router.drill import CONFIG, OPTIONS


@pytest.fixture(scope="session")
def with_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Accounted]:
    with accounted(tmp_path_factory.mktemp("accounted")) as there:
        yield there


@pytest.fixture(scope="session")
def replicated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """With several routers."""
    with arena(tmp_path_factory.mktemp("replicated"), CONFIG, *OPTIONS) as built:
        yield built
