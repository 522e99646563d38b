"""Ports on loopback: ports that a person named, ports that we prefer, and any free ports."""

import socket
from contextlib import ExitStack
from random import Random
from types import TracebackType
from typing import Self

from services.shared.settings import WrongSettings

HOST = "127.0.0.1"
# The system takes ports for outgoing connections from a higher range. So a process that restarts finds its port free.
_RANGE = range(20_000, 32_000)
_TRIES = 500


class Ports:
    """Reserves ports until the `with` block ends. No other cluster on this machine gets a reserved port.

    Much time may pass between the choice of a port and the moment when a process listens on it, and the process may be
    restarted. A UDP socket with the same number holds the reservation: TCP does not mind it, and the system closes it
    even if this process is killed.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._held = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def named(self, port: int, option: str) -> int:
        """Reserves the port that a person named with `option`.

        Raises:
            WrongSettings: Another process has the port.
        """
        if not self._take(port):
            raise WrongSettings(
                f"{option} = {port}: another process listens there; choose another port, or leave the option out"
            )
        return port

    def preferred(self, port: int) -> int:
        """Reserves `port`, or any free port when it is taken."""
        return port if self._take(port) else self.free()

    def free(self) -> int:
        """Reserves any free port.

        Raises:
            WrongSettings: No free port was found.
        """
        for _ in range(_TRIES):
            if self._take(port := self._random.choice(_RANGE)):
                return port
        raise WrongSettings(f"no free port found in {_TRIES} tries between {_RANGE.start} and {_RANGE.stop}")

    def _take(self, port: int) -> bool:
        with ExitStack() as taken:
            hold = taken.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            probe = taken.enter_context(socket.socket())
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                hold.bind((HOST, port))
                probe.bind((HOST, port))
            except OSError:
                return False
            probe.close()
            self._held.push(taken.pop_all())
        return True
