import socket

from services.worker.engine.node import address_of, free_port, interface_of, own_address


def test_a_host_on_this_machine_is_reached_from_its_own_address() -> None:
    assert own_address("127.0.0.1") == "127.0.0.1"
    assert address_of("127.0.0.1") == "127.0.0.1"


def test_a_free_port_can_be_bound() -> None:
    port = free_port("127.0.0.1")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", port))


def test_an_address_has_an_interface_and_a_foreign_one_has_none() -> None:
    assert interface_of("127.0.0.1") is not None
    assert interface_of("192.0.2.1") is None
