"""The worker's status."""

import asyncio

from services.worker.status import Identity, Status


async def test_a_request_that_begins_as_the_last_one_ends_is_waited_for() -> None:
    """Without this, an answer could begin with one version's weights and end with another's."""
    status = Status(Identity("w", 1, "tide", 1, 8))
    status.request_began()
    idle = asyncio.create_task(status.idle())
    await asyncio.sleep(0)
    status.request_ended()
    status.request_began()
    for _ in range(3):
        await asyncio.sleep(0)
    assert not idle.done()
    status.request_ended()
    await asyncio.wait_for(idle, 20)
