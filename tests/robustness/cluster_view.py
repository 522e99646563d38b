"""What a running cluster shows of itself: addresses, readiness and metrics."""

from dataclasses import dataclass
from typing import Self

import httpx

from loadtests.target import Target
from services.local.data_folder import DataFolder
from services.local.redis import url
from services.local.secrets import Secrets
from tests.support.cluster import RunningCluster
from tests.support.plain_http import no_certificates


@dataclass(frozen=True, slots=True)
class ClusterView:
    """http: where each process answers HTTP, by its name."""

    cluster: RunningCluster
    http: dict[str, str]
    redis_url: str

    @classmethod
    def of(cls, cluster: RunningCluster) -> Self:
        """Reads the addresses that the supervisor has written down."""
        record = cluster.record
        http = {process.name: process.http_address for process in record.processes}
        return cls(cluster, http, _redis_url(cluster, record.addresses.redis))

    @property
    def target(self) -> Target:
        """The gateway, with the key that `up` made, as a target of a workload."""
        return Target.of(self.cluster.rest, self.cluster.key)

    def named(self, prefix: str) -> list[str]:
        """The processes whose name begins so, sorted."""
        return sorted(name for name in self.http if name.startswith(prefix))

    async def metric(self, process: str, name: str) -> float:
        """The value of a metric of a process, summed over all labels."""
        async with httpx.AsyncClient(trust_env=False, verify=no_certificates()) as http:
            lines = (await http.get(f"http://{self.http[process]}/metrics")).text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith((name + " ", name + "{")))

    async def ready(self, processes: list[str]) -> list[str]:
        """The processes among these whose `/readyz` says that they are ready."""
        async with httpx.AsyncClient(timeout=1.0, trust_env=False, verify=no_certificates()) as http:
            return [process for process in processes if await _is_ready(http, self.http[process])]


async def _is_ready(http: httpx.AsyncClient, address: str) -> bool:
    try:
        return (await http.get(f"http://{address}/readyz")).status_code == 200
    except httpx.HTTPError:
        return False


def _redis_url(cluster: RunningCluster, address: str) -> str:
    kept = Secrets.model_validate_json(DataFolder(cluster.folder / ".tidegate").secrets.read_bytes())
    return url(int(address.split(":")[1]), kept.redis_password)
