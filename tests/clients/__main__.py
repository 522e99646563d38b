"""Runs the clients of the matrix against a simulated cluster, and writes the table in docs/clients.md.

usage: python -m tests.clients [CLIENT ...]    (parts of their names; the other rows of the table stay)
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.clients import environment, page
from tests.clients.environment import Clients
from tests.clients.matrix import CLIENTS, CLUSTER, Client, Row
from tests.support.cluster import RunningCluster, running_cluster


def main(names: list[str]) -> int:
    """Returns the exit status: 1 if a client did not see what it should have seen."""
    environment.make("--all")
    chosen = [client for client in CLIENTS if not names or any(name.lower() in client.title.lower() for name in names)]
    with tempfile.TemporaryDirectory() as folder, running_cluster(Path(folder), CLUSTER) as cluster:
        rows = [row for client in chosen for row in _run(client, cluster)]
    page.save(rows)
    page.write()
    return 1 if any(row.failed for row in rows) else 0


def _run(client: Client, cluster: RunningCluster) -> list[Row]:
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        try:
            rows = client.run(Clients(cluster, Path(home)))
        except (AssertionError, subprocess.TimeoutExpired, ValueError) as error:
            rows = [Row(client.title, client.version, client.api, [], {"hello": str(error)})]
    for row in rows:
        took = time.monotonic() - begin
        sys.stdout.write(f"{row.client} {row.version} {row.api}: {', '.join(row.passed)} ({took:.1f} s)\n")
        sys.stdout.writelines(f"    {name} went wrong: {saw}\n" for name, saw in row.failed.items())
    sys.stdout.flush()
    return rows


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
