"""When a server stalls, every request that was due during the stall counts as late, not only the accepted ones."""

import asyncio

import pytest

from loadtests.figures import Spread
from loadtests.sample import Sample
from tests.integration.loadtests.driving import drive
from tests.integration.loadtests.server import Exchange, right

RATE = 50
STALL_FROM = 20
"""Number of the request at which the stall begins."""
STALL_S = 1.0


class Stall:
    """Stops answering at one request, for STALL_S seconds."""

    def __init__(self) -> None:
        self._over: asyncio.Future[None] | None = None
        self.kept_waiting = 0
        """Requests that came during the stall."""

    async def __call__(self, exchange: Exchange) -> None:
        if exchange.number == STALL_FROM:
            loop = asyncio.get_running_loop()
            self._over = loop.create_future()
            loop.call_later(STALL_S, self._over.set_result, None)
        if self._over:
            self.kept_waiting += not self._over.done()
            await self._over
        await right(exchange)


async def stalled(stall: Stall, max_in_flight: int) -> list[Sample]:
    load = {"arrivals": {"process": "constant", "rate": RATE}, "duration_s": 2.0, "output_tokens": 3}
    samples, _, _ = await drive(stall, **load, max_in_flight=max_in_flight, send_within_s=10)
    assert len(samples) == 2 * RATE
    assert all(sample.ok for sample in samples)
    return samples


@pytest.mark.parametrize("max_in_flight", [200, 1], ids=["open loop", "with one request at a time"])
async def test_latency_counts_from_when_a_request_was_due(max_in_flight: int) -> None:
    stall = Stall()
    samples = await stalled(stall, max_in_flight)
    began_s = samples[STALL_FROM].due_s
    in_stall = [sample for sample in samples if began_s <= sample.due_s < began_s + STALL_S]
    assert len(in_stall) == pytest.approx(RATE * STALL_S, abs=1)
    for sample in in_stall:
        rest_of_the_stall_s = began_s + STALL_S - sample.due_s
        assert sample.e2e_s is not None
        assert sample.ttft_s is not None
        assert rest_of_the_stall_s <= sample.ttft_s <= sample.e2e_s
    spread = Spread.of(sample.ttft_s for sample in samples)
    assert spread is not None
    # Half of all were due in the stall, evenly: a tenth of all waited for the last four fifths of it.
    assert spread.p90 >= 0.75 * 1000 * STALL_S
    # Who sends in the stall too keeps many waiting; who cannot shows by how much it was late itself.
    assert (stall.kept_waiting > 1) == (max_in_flight > 1)
    if max_in_flight == 1:
        assert max(sample.lag_s or 0 for sample in samples) > STALL_S / 2
