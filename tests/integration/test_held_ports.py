"""The ports of a demonstration stay its own from their choice to its end, whoever else looks for one."""

from __future__ import annotations

import socket
import sys
from concurrent import futures

import grpc
import pytest

from simulations.demo.held_port import HeldPort

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a port is held by a rule of Linux")


def listener(port: int) -> grpc.Server:
    """As a service listens: whoever comes second is refused."""
    server = grpc.server(futures.ThreadPoolExecutor(1), options=[("grpc.so_reuseport", 0)])
    assert server.add_insecure_port(f"127.0.0.1:{port}") == port
    server.start()
    return server


def test_a_held_port_is_free_for_the_service_it_is_held_for_however_often_it_starts() -> None:
    held = HeldPort.take()
    for _ in range(2):
        service = listener(held.number)
        with pytest.raises(OSError, match="in use"):
            HeldPort(held.number)
        socket.create_connection(("127.0.0.1", held.number)).close()
        service.stop(0).wait()
        with socket.socket() as visitor:
            assert visitor.connect_ex(("127.0.0.1", held.number)) != 0, "nobody listens between two lives"
        with pytest.raises(OSError, match="in use"):
            HeldPort(held.number)


def test_a_port_is_given_back_with_its_holder() -> None:
    held = HeldPort.take()
    number = held.number
    del held
    assert HeldPort(number).number == number
