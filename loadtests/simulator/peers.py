"""What the policies of other routers have in common: a request goes to an engine when it comes, and waits there."""

from typing import Protocol

from loadtests.simulator.ask import Ask
from loadtests.simulator.dispatch import Order, Start
from loadtests.simulator.engine import Engine
from loadtests.simulator.request import Request


class Placement(Protocol):
    """A placement policy."""

    def place(self, ask: Ask, open_requests: list[int]) -> int:
        """Chooses a worker. `open_requests`: requests that each worker was given and that have not ended."""
        ...


class PeerDispatch:
    """Sends each request to an engine at once."""

    def __init__(self, placement: Placement, workers: int, *, ranked: bool = False) -> None:
        """With `ranked`, engines know the class of each request."""
        self._placement, self._ranked = placement, ranked
        self._open = [0] * workers
        self._orders: list[Order] = []

    def submit(self, request: Request) -> None:
        """Sends the request to a worker."""
        worker = self._placement.place(request.ask, self._open)
        self._open[worker] += 1
        self._orders.append(Start(request, worker, request.ask.service_class if self._ranked else 0))

    def finish(self, request: Request) -> None:
        """Forgets the request."""
        if request.worker is None:
            raise RuntimeError(f"{request.ask.request_id} ended and was never placed")
        self._open[request.worker] -= 1

    def beat(self, worker: int, engine: Engine) -> None:
        """Asks for nothing."""

    def maintenance(self) -> None:
        """Has nothing to keep."""

    def flush(self, now_ms: int) -> list[Order]:
        """Returns the orders so far."""
        orders, self._orders = self._orders, []
        return orders
