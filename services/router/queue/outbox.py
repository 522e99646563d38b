"""Orders to workers: they go through Redis, to the replica that the worker is attached to."""

from typing import Any

from services.router.core.events import DeliveryAsked, DrainAsked, StageAsked, encode_event
from services.router.core.keys import PoolKeys
from services.router.redis.script_runner import ScriptRunner

TTL_S = 60
"""Seconds that Redis keeps the outbox of a replica that does not empty it."""


async def send(runner: ScriptRunner, keys: PoolKeys, order: DeliveryAsked | DrainAsked | StageAsked) -> bool:
    """Puts an order into the outbox of the worker's replica.

    Args:
        runner: Reaches Redis.
        keys: Of the worker's pool.
        order: Names the worker.

    Returns:
        False when no replica has such a worker.

    Raises:
        RedisError: Redis did not answer.
    """
    client = runner.client(keys)
    answer: Any = client.hget(keys.key("worker:", order.worker_id), "router")
    router: bytes | None = await answer
    if router is None:
        return False
    outbox = keys.key("outbox:", router.decode())
    pipeline = client.pipeline(transaction=False)
    pipeline.rpush(outbox, encode_event(order))
    pipeline.expire(outbox, TTL_S)
    await pipeline.execute()
    return True
