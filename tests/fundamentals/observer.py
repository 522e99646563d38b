"""The cluster as its operators see it: `GET /v1/admin/cluster`, read until something is true."""

import os
import signal
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import httpx

from services.local.cluster_record import ProcessRecord
from tests.support.cluster import RunningCluster
from tests.support.wait import wait_until

WORKERS, SLOTS_PER_WORKER = 3, 4


class Observer:
    """An admin's HTTP client. Use it as an asynchronous context manager."""

    slots = WORKERS * SLOTS_PER_WORKER

    def __init__(self, cluster: RunningCluster) -> None:
        self._cluster = cluster
        key = {"authorization": f"Bearer {cluster.variables['TIDEGATE_ADMIN_KEY']}"}
        self._http = httpx.AsyncClient(headers=key, timeout=10)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def pool(self) -> dict[str, Any]:
        """The cluster's only pool: its workers, and for each class what waits and what runs."""
        response = await self._http.get(f"{self._cluster.rest}/admin/cluster")
        [pool] = response.raise_for_status().json()["pools"]
        return dict(pool)

    async def wait_until(self, predicate: Callable[[dict[str, Any]], object], description: str) -> None:
        """Returns when the predicate holds for the pool. Fails the test after a minute."""

        async def holds() -> object:
            try:
                return predicate(await self.pool())
            except httpx.HTTPStatusError as error:
                # While a router dies, the gateway may have none to ask for a moment.
                if error.response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                    raise
                return False

        await wait_until(holds, description=description, timeout=60)

    async def wait_until_running(self, requests: int) -> None:
        """Returns when so many requests have a slot."""
        await self.wait_until(lambda pool: pool["running"] == requests, f"{requests} requests run")

    async def wait_until_queued(self, requests: int) -> None:
        """Returns when so many requests wait for a slot, in all classes together."""
        await self.wait_until(
            lambda pool: sum(row["queued"] for row in pool["classes"]) == requests, f"{requests} requests wait"
        )

    async def wait_until_complete(self) -> None:
        """Returns when every worker is ready and every slot is free."""
        await self.wait_until(
            lambda pool: pool["ready_workers"] == WORKERS and pool["running"] == 0, "the cluster is complete and idle"
        )

    async def busy_worker(self) -> str:
        """The name of the only worker that has a request now, such as `worker-2`."""
        [busy] = [worker for worker in (await self.pool())["workers"] if worker["running"]]
        return next(process.name for process in self._cluster.record.processes if process.pid == busy["pid"])

    def pid(self, name: str) -> int:
        """The process id of a process of the cluster."""
        pid = self._process(name).pid
        assert pid is not None
        return pid

    def kill(self, name: str) -> None:
        """`kill -9` for one process of the cluster. Its supervisor starts it again."""
        os.kill(self.pid(name), signal.SIGKILL)

    async def wait_until_restarted(self, name: str, old_pid: int) -> None:
        """Returns when the supervisor has replaced the process."""

        def replaced() -> bool:
            process = self._process(name)
            return process.pid not in (None, old_pid) and process.state == "running"

        await wait_until(replaced, description=f"{name} runs again", timeout=60)

    def _process(self, name: str) -> ProcessRecord:
        return next(process for process in self._cluster.record.processes if process.name == name)
