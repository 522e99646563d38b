"""What the short drills share."""

from collections.abc import Iterator

import pytest

from tests.robustness.accounted import Accounted, accounted


@pytest.fixture(scope="session")
def with_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Accounted]:
    with accounted(tmp_path_factory.mktemp("accounted")) as there:
        yield there
