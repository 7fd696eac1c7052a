"""TLS to switches on other machines: who we are, whom we believe, and a relay between TLS and a controller library.

Neither library dials a switch over TLS, and their threads read and write one connection at once, which an OpenSSL
session must not be used for. So one thread of ours has the session alone, and the library gets the plain end of a
socket pair. Switches' certificates name no hosts (``ovs-pki`` makes them so): the CA says that it is one of ours, and
``datapath_id`` which one.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from manor.errors import Unauthorized

__all__ = ["Credentials", "dial"]

_BUFFER_BYTES = 1 << 20
_PIECE_BYTES = 1 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """A directory with ``cacert.pem``, ``clientcert.pem`` and ``clientkey.pem``, named as libvirt names them."""

    directory: Path

    @property
    def ca(self) -> Path:
        """Certificates of those who may vouch for a switch."""
        return self.directory / "cacert.pem"

    @property
    def certificate(self) -> Path:
        """Ours, which the switch is shown."""
        return self.directory / "clientcert.pem"

    @property
    def key(self) -> Path:
        """The private key of ours, readable by its owner only."""
        return self.directory / "clientkey.pem"

    def check(self) -> None:
        """Raise Unauthorized where a file is missing, or the key is open to others."""
        for path in (self.ca, self.certificate, self.key):
            if not path.is_file():
                raise Unauthorized(f"{path} is not there", hint="pki_dir names a directory with the three PEM files")
        if os.stat(self.key).st_mode & 0o077:
            raise Unauthorized(f"{self.key} is open to others", hint=f"chmod 600 {self.key}")

    def options(self) -> list[str]:
        """The same, as Open vSwitch's tools take it."""
        return [f"--private-key={self.key}", f"--certificate={self.certificate}", f"--ca-cert={self.ca}"]

    def context(self) -> ssl.SSLContext:
        """For a connection to a switch. Raises Unauthorized where the files are unusable."""
        self.check()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False
        try:
            context.load_verify_locations(self.ca)
            context.load_cert_chain(self.certificate, self.key)
        except (OSError, ValueError) as error:
            raise Unauthorized(f"the PEM files in {self.directory} cannot be used: {error}") from error
        return context


def dial(
    connected: socket.socket, credentials: Credentials, timeout_s: float, on_error: Callable[[str], None]
) -> socket.socket:
    """Shake hands over ``connected`` and return the plain end of a relay to it, which owns ``connected`` from now on.

    ``on_error`` hears why the relay broke off. Raises Unauthorized when the switch's certificate, or ours, is refused.
    """
    try:
        session = _Session(connected, credentials.context())
        session.shake_hands(time.monotonic() + timeout_s)
    except ssl.SSLError as error:
        connected.close()
        raise Unauthorized(_words(error, credentials)) from error
    except BaseException:
        connected.close()
        raise
    ours, theirs = socket.socketpair()

    def run() -> None:
        try:
            session.relay(ours)
        except ssl.SSLError as error:
            on_error(_words(error, credentials))
        except OSError as error:
            on_error(f"the connection broke off: {error.strerror or error}")
        finally:
            connected.close()
            ours.close()

    threading.Thread(target=run, name="tls", daemon=True).start()
    return theirs


def _words(error: ssl.SSLError, credentials: Credentials) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message} (believed is {credentials.ca})"
    if "alert" in str(error.reason).lower():
        alert = str(error.reason).lower().replace("_", " ")
        return f"it refuses our certificate {credentials.certificate}: {alert}"
    return f"no TLS with it: {error.reason or error}"


class _Session:
    """One TLS session in memory, and the socket that its bytes go over. For one thread."""

    def __init__(self, connected: socket.socket, context: ssl.SSLContext) -> None:
        self._net = connected
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing)

    def shake_hands(self, deadline: float) -> None:
        """Raises ssl.SSLError, TimeoutError, OSError."""
        while True:
            self._net.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                data = self._net.recv(_PIECE_BYTES)
                if not data:
                    raise ConnectionError("it hung up during the TLS handshake") from None
                self._incoming.write(data)
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    self._flush()  # the alert that says why
                raise
            else:
                self._flush()
                return

    def _flush(self) -> None:
        self._net.sendall(self._outgoing.read())

    def relay(self, plain: socket.socket) -> None:
        """Carry bytes until either side ends. Raises ssl.SSLError, OSError."""
        for end in (plain, self._net):
            end.setblocking(False)
        to_net, to_plain = bytearray(), bytearray()
        to_plain += self._decrypted(b"")
        with selectors.DefaultSelector() as selector:
            while True:
                _watch(selector, self._net, read=len(to_plain) < _BUFFER_BYTES, write=bool(to_net))
                _watch(selector, plain, read=len(to_net) < _BUFFER_BYTES, write=bool(to_plain))
                for key, events in selector.select():
                    if events & selectors.EVENT_WRITE:
                        waiting = to_net if key.fileobj is self._net else to_plain
                        del waiting[: key.fileobj.send(waiting)]  # type: ignore[union-attr]
                    if events & selectors.EVENT_READ:
                        data = key.fileobj.recv(_PIECE_BYTES)  # type: ignore[union-attr]
                        if not data:
                            return
                        if key.fileobj is plain:
                            self._tls.write(data)
                        else:
                            to_plain += self._decrypted(data)
                        to_net += self._outgoing.read()

    def _decrypted(self, data: bytes) -> bytes:
        self._incoming.write(data)
        found = bytearray()
        while True:
            try:
                piece = self._tls.read(_PIECE_BYTES)
            except ssl.SSLWantReadError:
                return bytes(found)
            if not piece:
                raise ConnectionError("it ended the TLS session")
            found += piece


def _watch(selector: selectors.BaseSelector, end: socket.socket, *, read: bool, write: bool) -> None:
    """What to wait for at one end; nothing, while the other end has to catch up."""
    events = (selectors.EVENT_READ if read else 0) | (selectors.EVENT_WRITE if write else 0)
    before = selector.get_map().get(end)
    if before is not None and before.events != events:
        selector.unregister(end)
        before = None
    if before is None and events:
        selector.register(end, events)
