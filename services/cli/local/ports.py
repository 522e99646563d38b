"""Ports on loopback: those that a person named, those we prefer, and any free ones."""

import socket
from random import Random

from services.shared.settings import WrongSettings

HOST = "127.0.0.1"
# Below the range from which the system takes ports for outgoing connections, so that a process that restarts finds
# its port still free.
_RANGE = range(20_000, 32_000)
_TRIES = 500


class Ports:
    """Gives each port once."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._given: set[int] = set()

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
        if port in self._given or not is_free(port):
            return False
        self._given.add(port)
        return True


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
