"""Ports on loopback: those that a person named, those we prefer, and any free ones."""

import socket
from contextlib import ExitStack
from random import Random
from types import TracebackType
from typing import Self

from services.shared.settings import WrongSettings

HOST = "127.0.0.1"
# Below the range from which the system takes ports for outgoing connections, so that a process that restarts finds
# its port still free.
_RANGE = range(20_000, 32_000)
_TRIES = 500


class Ports:
    """Gives each port once, and until the block is left to nobody else on this machine who asks here.

    A port is looked at long before a process listens there, and once more when the process is started again. So it is
    held by what TCP does not mind: a UDP socket of the same number, which the system closes whatever becomes of us.
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
        """Raises WrongSettings when another process has it."""
        if not self._take(port):
            raise WrongSettings(f"{option} = {port}: another process listens there; name another port or none")
        return port

    def preferred(self, port: int) -> int:
        return port if self._take(port) else self.free()

    def free(self) -> int:
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
