"""What all policies that others use have in common: a request goes to an engine as it comes, and waits there."""

from typing import Protocol

from loadtests.simulator.ask import Ask
from loadtests.simulator.dispatch import Order, Start
from loadtests.simulator.engine import Engine
from loadtests.simulator.request import Request


class Placement(Protocol):
    def place(self, ask: Ask, open_requests: list[int]) -> int:
        """A worker. open_requests: how many each of them has been given that have not ended."""
        ...


class PeerDispatch:
    def __init__(self, placement: Placement, workers: int, *, ranked: bool = False) -> None:
        """ranked: engines are told the class of each request."""
        self._placement, self._ranked = placement, ranked
        self._open = [0] * workers
        self._orders: list[Order] = []

    def submit(self, request: Request) -> None:
        worker = self._placement.place(request.ask, self._open)
        self._open[worker] += 1
        self._orders.append(Start(request, worker, request.ask.service_class if self._ranked else 0))

    def finish(self, request: Request) -> None:
        if request.worker is None:
            raise RuntimeError(f"{request.ask.request_id} ended and was never placed")
        self._open[request.worker] -= 1

    def beat(self, worker: int, engine: Engine) -> None:
        """Asks for nothing."""

    def upkeep(self) -> None:
        """Has nothing to keep."""

    def flush(self, now_ms: int) -> list[Order]:
        orders, self._orders = self._orders, []
        return orders
