"""A port for a test's server: nobody listens there, and no client is given it by chance."""

import socket
from pathlib import Path

import pytest

from manor.testing import ports
from manor.testing.ports import free_port

FIRST_OF_CLIENTS = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])


@pytest.mark.skipif(FIRST_OF_CLIENTS < 2048, reason="this machine gives its clients every port")
def test_no_client_is_given_it() -> None:
    assert all(1024 <= free_port() < FIRST_OF_CLIENTS for _ in range(100))


def test_nobody_listens_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_SOME", 8)
    with socket.create_server(("127.0.0.1", free_port())) as server:
        assert server.getsockname()[1] not in {free_port() for _ in range(50)}
