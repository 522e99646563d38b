"""What requests have left behind after all have ended: keys in Redis, sequences in engines. There should be nothing."""

import redis

from tests.robustness.cluster_view import ClusterView
from tests.support import key_leaks
from tests.support.wait import wait_until

TIMEOUT_S = 15.0


async def leaks(view: ClusterView, timeout_s: float = TIMEOUT_S) -> set[str]:
    """Looks until nothing is left, at most `timeout_s` seconds long, and returns what is still there."""
    found: set[str] = set()
    pools = view.cluster.record.models
    with redis.Redis.from_url(view.redis_url) as client:

        async def nothing_left() -> bool:
            found.clear()
            found.update(key_leaks.request_keys(client, pools), await _sequences(view))
            return not found

        try:
            await wait_until(nothing_left, description="nothing is left of any request", timeout=timeout_s)
        except AssertionError:
            return found
        return key_leaks.leaked_keys(client, pools)


async def _sequences(view: ClusterView) -> set[str]:
    names = ("tidegate_worker_running", "tidegate_worker_waiting")
    return {
        f"sequences of {worker}"
        for worker in view.named("worker")
        if sum([await view.metric(worker, name) for name in names])
    }
