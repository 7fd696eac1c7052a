"""What a receiver answers, however long or strange, is neither taken for the next answer nor unpacked."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from manor.errors import UsageError
from manor.notify import webhook


@dataclass
class Receiver:
    uri: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    answer: bytes = b""
    heard: int = 0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    known = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            known.heard += 1
            self.send_response(200)
            self.send_header("Content-Length", str(len(known.answer)))
            for name, value in known.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(known.answer)

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):  # what was not read of an answer is reset
                super().handle()

        def log_message(self, *_args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    known.uri = f"http://127.0.0.1:{server.server_port}/"
    yield known
    server.shutdown()
    thread.join()
    webhook._pool().clear()
    server.server_close()


@pytest.mark.parametrize("length", [0, 100, 5000, 8000, 100_000])
def test_a_long_answer_does_not_have_the_next_notification_sent_twice(receiver: Receiver, length: int) -> None:
    receiver.answer = b"x" * length
    for number in range(1, 4):
        webhook.send(receiver.uri, {"id": number})
        assert receiver.heard == number


def test_an_answer_is_not_unpacked(receiver: Receiver) -> None:
    receiver.answer, receiver.headers = b"this is no gzip", {"Content-Encoding": "gzip"}
    webhook.send(receiver.uri, {"id": 1})
    assert receiver.heard == 1


@pytest.mark.parametrize("uri", ["http://[oss/", "http://oss:port/", "http://oss:99999/", "ftp://oss/", "http:///x"])
def test_an_address_that_is_none_is_refused_in_words(uri: str) -> None:
    with pytest.raises(UsageError, match="is no callback address"):
        webhook.checked_uri(uri)
