from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import OpenAI

from tests.clients import environment
from tests.clients.environment import Clients
from tests.support.cluster import RunningCluster
from tests.support.prefetch import Prefetch


@pytest.fixture(scope="session")
def installed(prefetch: Prefetch) -> None:
    prefetch.wait("scripts/clients.sh")
    environment.make()


@pytest.fixture
def clients(installed: None, real: RunningCluster, tmp_path: Path) -> Clients:
    return Clients(real, tmp_path)


@pytest.fixture
def openai(real: RunningCluster) -> Iterator[OpenAI]:
    with OpenAI(base_url=real.rest, api_key=real.key, max_retries=0) as client:
        yield client
