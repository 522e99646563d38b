"""Canaries: secrets that no process may write anywhere, and the places to search for them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import httpx
import psutil

from services.local.data_folder import DataFolder
from services.local.secrets import Secrets
from tests.robustness.cluster_under_test import ClusterUnderTest
from tests.robustness.cluster_view import ClusterView
from tests.robustness.cluster_with_database import PASSWORD

CLUSTER_SECRETS = ("api_key", "admin_key", "server_secret", "redis_password", "s3_secret_key")
KEY_LINES = slice(1, -1)
"""The lines of a PEM file that hold the key itself."""


@dataclass(slots=True)
class Canaries:
    """secrets: by a name that says what each is. errors: bodies of error responses."""

    secrets: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def add_cluster_secrets(self, view: ClusterView) -> None:
        """Adds the cluster's own keys and passwords."""
        folder = DataFolder(view.cluster.folder / ".tidegate")
        kept = Secrets.model_validate_json(folder.secrets.read_bytes())
        self.secrets |= {name: getattr(kept, name) for name in CLUSTER_SECRETS}
        self.secrets["signing key"] = "".join(folder.signing_key.read_text().splitlines()[KEY_LINES])
        self.secrets["database password"] = PASSWORD

    def leaks(self, places: Mapping[str, str]) -> Iterator[str]:
        """Returns a sentence for each secret that is in the text of a place."""
        for place, text in places.items():
            for name, secret in self.secrets.items():
                if secret in text:
                    yield f"{place} has the {name}"


async def places(cluster: ClusterUnderTest) -> dict[str, str]:
    """The logs, the metrics and the command line of every process, by the name of the place."""
    logs = (cluster.view.cluster.folder / ".tidegate/logs").glob("*.log")
    found = {f"the log {log.name}": log.read_text() for log in logs}
    async with httpx.AsyncClient() as http:
        for name, address in cluster.view.http.items():
            if address:
                found[f"/metrics of {name}"] = (await http.get(f"http://{address}/metrics")).text
    for name, process in cluster.injector.processes.items():
        found[f"the command line of {name}"] = " ".join(psutil.Process(process.pid).cmdline())
    return found
