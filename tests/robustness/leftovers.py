"""What requests have left behind when all have ended: keys in Redis, sequences in engines. There should be nothing."""

import redis

from tests.robustness.view import View
from tests.support import census
from tests.support.wait import wait_until

PATIENCE_S = 15.0


async def leftovers(view: View, patience_s: float = PATIENCE_S) -> set[str]:
    """Looked for until there is nothing, or for so long."""
    found: set[str] = set()
    with redis.Redis.from_url(view.redis_url) as client:

        async def nothing() -> bool:
            found.clear()
            found.update(census.of_requests(client), await _sequences(view))
            return not found

        try:
            await wait_until(nothing, description="nothing is left of any request", timeout=patience_s)
        except AssertionError:
            return found
        return census.unexpected(client)


async def _sequences(view: View) -> set[str]:
    names = ("tidegate_worker_running", "tidegate_worker_waiting")
    return {
        f"sequences of {worker}"
        for worker in view.named("worker")
        if sum([await view.metric(worker, name) for name in names])
    }
