import socket
from random import Random

import pytest

from services.cli.local.ports import HOST, Ports
from services.shared.settings import WrongSettings


def test_each_port_is_given_once() -> None:
    ports = Ports(Random(1))
    given = [ports.free() for _ in range(50)]
    assert len(set(given)) == 50


def test_a_named_port_that_is_taken_is_told_with_its_option() -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(WrongSettings, match=f"--rest-port = {port}"):
            Ports(Random(1)).named(port, "--rest-port")
        assert Ports(Random(1)).preferred(port) != port


def test_a_port_named_twice_is_taken_the_second_time() -> None:
    ports = Ports(Random(1))
    port = ports.free()
    with pytest.raises(WrongSettings, match="--grpc-port"):
        ports.named(port, "--grpc-port")
