"""A VNF's exporter is asked at its own address only, once, and what it answers is bounded in size and time."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from manor.errors import DeadlineExceeded, Permanent, Transient
from manor.telemetry.scrape import is_vnf_address, place_of, scrape


class Exporter(BaseHTTPRequestHandler):
    """Good, elsewhere, endless and slow, by the path."""

    def do_GET(self) -> None:
        if self.path.startswith("/drop-by-drop"):
            self.drips(b"" if self.path.endswith("headers") else b"Transfer-Encoding: chunked\r\n\r\n")
            return
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:1/secret")
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        try:
            if self.path == "/metrics":
                self.wfile.write(b"sessions 7\n")
            while self.path == "/endless":
                self.wfile.write(b"x" * 10_000)
            while self.path == "/slow":
                self.wfile.write(b"x")
                time.sleep(0.05)
        except OSError:
            pass  # the other side has hung up

    def drips(self, first: bytes) -> None:
        """One line that never ends, so that there is always something to hear."""
        try:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n" + first)
            while True:
                self.wfile.write(b"1")
                time.sleep(0.02)
        except OSError:
            pass  # the other side has hung up

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Exporter)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


def ask(port: int, path: str, within_s: float = 60.0) -> bytes:
    return scrape("127.0.0.1", (port, path), most_bytes=1000, within_s=within_s, allowed=lambda _: True)


def test_an_exporter_is_read_within_bounds(port: int) -> None:
    assert ask(port, "/metrics") == b"sessions 7\n"
    with pytest.raises(Permanent, match="more than 1000 bytes"):
        ask(port, "/endless")
    with pytest.raises((DeadlineExceeded, Transient)):  # the latter where it was too busy even to begin its answer
        ask(port, "/slow", within_s=0.3)
    with pytest.raises(Transient, match="answers 302"):
        ask(port, "/moved")
    with pytest.raises(Transient, match="does not answer"):
        scrape("127.0.0.1", (1, "/"), most_bytes=10, within_s=1, allowed=lambda _: True)


@pytest.mark.parametrize("what", ["headers", "body"])
def test_an_exporter_that_never_ends_a_line_is_hung_up_on_in_time(port: int, what: str) -> None:
    began_s = time.monotonic()
    with pytest.raises((DeadlineExceeded, Transient)):
        ask(port, f"/drop-by-drop/{what}", within_s=0.3)
    assert time.monotonic() - began_s < 60.0, "it would go on for twenty minutes"


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "169.254.169.254", "fe80::1", "0.0.0.0", "224.0.0.1", "::ffff:127.0.0.1", "web", ""]
)
def test_this_machine_and_its_neighbours_are_never_asked(port: int, address: str) -> None:
    assert not is_vnf_address(address)
    with pytest.raises(Permanent, match="no address of a VNF"):
        scrape(address, (port, "/metrics"), most_bytes=1000, within_s=1)


def test_a_place_is_a_port_and_a_path_and_nothing_else() -> None:
    assert is_vnf_address("10.0.0.7")
    assert place_of(("http://:9100/metrics?x=1",)) == (9100, "/metrics?x=1")
    assert place_of(("http://:9100",)) == (9100, "/metrics")
    for command in ("http://10.0.0.1:80/", "https://:9100/", "http://:0/", "http://:99999/", "http://:80/a b", "wget"):
        assert place_of((command,)) is None
    assert place_of(("http://:9100/", "more")) is None
