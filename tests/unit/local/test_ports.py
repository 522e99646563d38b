import socket
from random import Random

import pytest

from services.local.ports import HOST, Ports
from services.shared.settings import WrongSettings


def test_each_port_is_given_once() -> None:
    with Ports(Random(1)) as ports:
        given = [ports.free() for _ in range(50)]
    assert len(set(given)) == 50


def test_two_clusters_that_start_at_once_do_not_draw_the_same_port() -> None:
    with Ports(Random(1)) as ours:
        port = ours.free()
        with Ports(Random(1)) as theirs:
            assert theirs.free() != port
            with pytest.raises(WrongSettings, match="--rest-port"):
                theirs.named(port, "--rest-port")
        # Whoever was given it may listen there meanwhile, and again.
        for _ in range(2):
            socket.create_server((HOST, port)).close()
    with Ports(Random(1)) as later:
        assert later.free() == port


def test_a_named_port_that_is_taken_is_told_with_its_option() -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with Ports(Random(1)) as ports:
            with pytest.raises(WrongSettings, match=f"--rest-port = {port}"):
                ports.named(port, "--rest-port")
            assert ports.preferred(port) != port


def test_a_port_named_twice_is_taken_the_second_time() -> None:
    with Ports(Random(1)) as ports:
        port = ports.free()
        with pytest.raises(WrongSettings, match="--grpc-port"):
            ports.named(port, "--grpc-port")
