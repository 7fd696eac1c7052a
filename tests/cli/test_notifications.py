"""Subscribers are told what was committed, in order, whoever died in between; checked with a receiver on loopback."""

import hashlib
import hmac
import json
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from shell import Cli

_PATIENCE_S = 60.0


@dataclass
class Receiver:
    """A subscriber's server; ``answers`` are its next statuses, 204 where there are none."""

    url: str = ""
    got: "queue.Queue[tuple[dict[str, str], bytes]]" = field(default_factory=queue.Queue)
    answers: list[int] = field(default_factory=list)

    def next(self) -> dict[str, Any]:
        """The next notification it was given; fails where none comes."""
        found: dict[str, Any] = json.loads(self.got.get(timeout=_PATIENCE_S)[1])
        return found

    def until(self, **wanted: str) -> list[dict[str, Any]]:
        """All that come up to the first one that says this."""
        seen = [self.next()]
        while any(seen[-1].get(name) != value for name, value in wanted.items()):
            seen.append(self.next())
        return seen


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    it = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = it.answers.pop(0) if it.answers else 204
            if status == 302:
                self.send_response(302)
                self.send_header("Location", it.url + "/elsewhere")
            else:
                self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            it.got.put((dict(self.headers), body))

        def log_message(self, *_args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    it.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield it
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def serve(site: Cli) -> Iterator[Any]:
    """Start `manor serve`; what still runs at the end is stopped."""
    running: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        process = site.process("serve")
        running.append(process)
        assert process.stderr is not None
        for line in process.stderr:
            if "serving" in line:
                return process
        raise AssertionError("serve ended")

    yield start
    for process in running:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=_PATIENCE_S)


@pytest.mark.slow
def test_what_happened_is_a_stream_of_documents(site: Cli) -> None:
    site.good("ns", "create", "secure-web", "--name", "web")
    site.good("ns", "instantiate", "web", "--yes")
    site.good("ns", "terminate", "web", "--yes")
    listed = site.good("--json", "vnf", "operations", "web/firewall").json
    kept = site.good("--json", "op", "show", "web").json["occurrence"]
    assert "no VNF is called 'gateway'" in site("vnf", "operations", "web/gateway").err
    shown = site.good("vnf", "operations", "web", "--limit", "5").out.splitlines()
    site.good("ns", "delete", "web", "--yes")
    documents = [json.loads(line) for line in site.good("--json", "events").out.splitlines()]
    assert [one["seq"] for one in documents] == sorted({one["seq"] for one in documents})
    kinds = [one["notificationType"] for one in documents]
    assert kinds.count("VnfPackageOnboardingNotification") == 4
    assert kinds.index("NsdOnBoardingNotification") < kinds.index("NsIdentifierCreationNotification")
    assert kinds[-1] == "NsIdentifierDeletionNotification"
    assert kinds.count("VnfIdentifierCreationNotification") == kinds.count("VnfIdentifierDeletionNotification") == 4
    told = [one for one in documents if one["notificationType"] == "NsLcmOperationOccurrenceNotification"]
    assert [(one["operation"], one["notificationStatus"], one["operationState"]) for one in told] == [
        ("INSTANTIATE", "START", "PROCESSING"),
        ("INSTANTIATE", "RESULT", "COMPLETED"),
        ("TERMINATE", "START", "PROCESSING"),
        ("TERMINATE", "RESULT", "COMPLETED"),
    ]
    assert len(told[1]["affectedVnf"]) == 4
    assert (kept["id"], kept["lcmOperationType"]) == (told[3]["nsLcmOpOccId"], "TERMINATE")
    assert (kept["stateEnteredTime"], kept["operationParams"]) == (told[3]["timeStamp"], {})
    assert kept["resourceChanges"] == {f"{key}s": told[3][key] for key in told[3] if key.startswith("affected")}
    assert {one["changeResult"] for one in told[1]["affectedVnffg"]} == {"COMPLETED"}
    _as_listed([one for one in documents if one.get("vnfInstanceId", "").endswith("/vnf/firewall")], listed)
    assert len(shown) == 1 + 5
    assert [line.split()[1:3] for line in shown[1:]] == [["TERMINATE", "COMPLETED"]] * 4 + [
        ["INSTANTIATE", "COMPLETED"]
    ]
    lines = site.good("events", "--type", "NsLcmOperationOccurrenceNotification").out.splitlines()
    assert len(lines) == 4
    assert "web INSTANTIATE COMPLETED" in lines[1]
    assert site("events", "--type", "Gossip").code == 2


def _as_listed(told: list[dict[str, Any]], listed: list[dict[str, Any]]) -> None:
    """What was told of a VNF, from its first day to its last, is what `vnf operations` shows, the newest first."""
    assert told[0]["notificationType"] == "VnfIdentifierCreationNotification"
    assert told[-1]["notificationType"] == "VnfIdentifierDeletionNotification"
    assert [(one["operation"], one["notificationStatus"], one["operationState"]) for one in told[1:-1]] == [
        (operation, status, state)
        for operation in ("INSTANTIATE", "TERMINATE")
        for status, state in (("START", "STARTING"), ("START", "PROCESSING"), ("RESULT", "COMPLETED"))
    ]
    for result, occurrence in zip((told[6], told[3]), listed, strict=True):
        assert (result["vnfLcmOpOccId"], result["timeStamp"]) == (occurrence["id"], occurrence["stateEnteredTime"])
        changes = occurrence["resourceChanges"]
        assert {name: found for name, found in result.items() if name.startswith("affected")} == changes
        (vnfc,) = changes["affectedVnfcs"]
        assert vnfc["changeType"] == ("REMOVED" if occurrence["operation"] == "TERMINATE" else "ADDED")
        assert {one["changeType"] for one in changes["affectedExtLinkPorts"]} == {vnfc["changeType"]}


def test_a_follower_sees_what_happens_next(site: Cli) -> None:
    follower = site.process("--json", "events", "--follow", "--type", "NsIdentifierCreationNotification")
    try:
        site.good("ns", "create", "secure-web", "--name", "web")
        assert follower.stdout is not None
        assert json.loads(follower.stdout.readline())["nsInstanceName"] == "web"
    finally:
        follower.send_signal(signal.SIGINT)
        follower.communicate(timeout=_PATIENCE_S)


@pytest.mark.slow
def test_a_subscriber_is_told_in_order_though_it_fails_and_serve_dies(
    site: Cli, receiver: Receiver, serve: Any, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text("wadi\n")
    key.chmod(0o600)
    site.good("ns", "create", "secure-web", "--name", "before")
    made = site.good("--json", "subscription", "create", receiver.url, "--secret-file", str(key)).json
    assert "wadi" not in json.dumps(made)
    receiver.answers = [503, 503]
    first = serve()
    site.good("ns", "create", "secure-web", "--name", "web")
    attempts = [receiver.got.get(timeout=_PATIENCE_S) for _ in range(3)]
    assert len({body for _, body in attempts}) == 1, "each attempt sends the same notification"
    headers, body = attempts[-1]
    stamp = headers["Manor-Signature"].split(",")[0].removeprefix("t=")
    expected = hmac.new(b"wadi", f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    assert headers["Manor-Signature"] == f"t={stamp},v1={expected}"
    document = json.loads(body)
    assert (document["nsInstanceName"], document["subscriptionId"]) == ("web", made["id"])

    receiver.answers = [503] * 3
    site.good("ns", "create", "secure-web", "--name", "late")
    assert receiver.next()["nsInstanceName"] == "late"
    first.kill()
    first.communicate(timeout=_PATIENCE_S)
    receiver.answers = []
    site.good("ns", "create", "secure-web", "--name", "later")
    serve()
    seen = receiver.until(nsInstanceName="later")
    names = [one["nsInstanceName"] for one in seen]
    assert names == ["late"] * (len(names) - 1) + ["later"], "in order, at least once"
    assert len({one["id"] for one in seen}) == 2


@pytest.mark.slow
def test_who_refuses_or_redirects_holds_up_nobody(site: Cli, receiver: Receiver, serve: Any) -> None:
    only = ("--type", "NsIdentifierCreationNotification")
    site.good("subscription", "create", "http://127.0.0.1:9/nobody?token=quiet", *only)
    site.good("subscription", "create", receiver.url, *only)
    receiver.answers = [302, 410]
    serve()
    for name in ("a", "b", "c"):
        site.good("ns", "create", "secure-web", "--name", name)
    # A redirect is a refusal: each is sent once.
    assert [receiver.next()["nsInstanceName"] for _ in range(3)] == ["a", "b", "c"]
    end_s = time.monotonic() + _PATIENCE_S
    while True:
        (away, heard) = site.good("--json", "subscription", "list").json
        if away["failures"] and heard["cursor"] > away["cursor"]:
            break
        assert time.monotonic() < end_s, (away, heard)
        time.sleep(0.05)
    shown = site.good("subscription", "list").out
    assert "quiet" not in shown
    assert "cannot be reached" in shown
    site.good("subscription", "delete", away["id"][:6])
    assert len(site.good("--json", "subscription", "list").json) == 1


@pytest.mark.parametrize("uri", ["ftp://host/x", "http://", "https://user:pass@host/x", "file:///etc/passwd"])
def test_an_address_that_is_none_is_refused(site: Cli, uri: str) -> None:
    assert site("subscription", "create", uri).code == 2


def test_a_key_open_to_others_is_refused(site: Cli, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("wadi")
    (tmp_path / "key").chmod(0o644)
    done = site("subscription", "create", "https://oss.example/", "--secret-file", str(tmp_path / "key"))
    assert (done.code, "chmod 600" in done.err) == (2, True)
