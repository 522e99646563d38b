"""Clients that other people wrote, on a simulated cluster that answers as it is told. `make clients` runs all."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients import page
from tests.clients.environment import Clients
from tests.clients.matrix import CLIENTS, CLUSTER, Client
from tests.support.cluster import RunningCluster, running_cluster

ALWAYS = [client for client in CLIENTS if client.always]


@pytest.fixture(scope="module")
def told_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    with running_cluster(tmp_path_factory.mktemp("told"), CLUSTER) as cluster:
        yield cluster


@pytest.fixture
def clients(installed: None, told_cluster: RunningCluster, tmp_path: Path) -> Clients:
    return Clients(told_cluster, tmp_path)


@pytest.mark.cluster
@pytest.mark.timeout(900)
@pytest.mark.parametrize("client", ALWAYS, ids=[client.title for client in ALWAYS])
def test_what_it_saw_is_what_the_cluster_was_told(clients: Clients, client: Client) -> None:
    rows = client.run(clients)
    assert not {row.api: row.failed for row in rows if row.failed}
    assert [(row.api, row.passed) for row in rows] == [
        (row.api, row.passed) for row in page.seen() if row.client == client.title
    ]


def test_the_page_shows_what_the_last_runs_saw() -> None:
    assert page.written() == page.text(), "run `make clients`"


def test_the_last_runs_had_every_client_in_its_pinned_version() -> None:
    versions = {client.title: client.version for client in CLIENTS}
    assert {row.client: row.version for row in page.seen()} == versions, "run `make clients`"
