"""What all tests share. Hypothesis prints how to replay a failure, and is never failed for being slow."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.postgres import Postgres, running_postgres

settings.register_profile("tidegate", print_blob=True, deadline=None)
# State machines on real servers: thousands of steps instead of hundreds.
settings.register_profile(
    "deep",
    settings.get_profile("tidegate"),
    max_examples=2000,
    stateful_step_count=100,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("tidegate")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server for all tests that want one; each makes a database of its own."""
    with running_postgres() as server:
        yield server
