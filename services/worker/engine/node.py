"""A worker on several nodes: which one this process is, and where the nodes meet."""

import socket
from dataclasses import dataclass

import psutil

_ANY_PORT = 9


@dataclass(frozen=True, slots=True)
class Node:
    """One of the machines of a worker.

    Attributes:
        rank: 0 is the worker itself; followers count from 1.
        nodes: How many machines the worker has.
        master: Host of rank 0, as the other nodes reach it.
        port: Port of `master` where the processes of all nodes meet.
        address: IP address of this machine, as the other nodes reach it.
    """

    rank: int
    nodes: int
    master: str
    port: int
    address: str


def address_of(host: str) -> str:
    """Returns the IP address of a host name.

    Raises:
        OSError: There is no such host.
    """
    address = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)[0][4][0]
    return str(address)


def own_address(towards: str) -> str:
    """Returns the IP address of this machine from which it reaches the host. Nothing is sent.

    Raises:
        OSError: There is no such host, or no way to it.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(towards, _ANY_PORT, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.connect(address)
        return str(probe.getsockname()[0])


def free_port(address: str) -> int:
    """Returns a TCP port of this machine on which nobody listens now. Another process may take it meanwhile.

    Raises:
        OSError: The address is not of this machine.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def interface_of(address: str) -> str | None:
    """Returns the network interface that has the IP address, such as `eth0`; None if none has it."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(each.address.partition("%")[0] == address for each in addresses):
            return name
    return None
