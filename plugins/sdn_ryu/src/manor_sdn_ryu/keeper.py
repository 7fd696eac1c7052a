"""Keeps the line to one host's switch: dials, dials again, and says when something on it changed."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manor.api import CallContext
from manor.errors import DriverError, Transient, Unauthorized
from manor_sdn_ryu.protocol import at_path
from manor_sdn_ryu.runtime import Library
from manor_sdn_ryu.session import Session
from manor_sdn_ryu.tls import Credentials, dial

if TYPE_CHECKING:
    from manor_sdn_ryu.ovsdb import Ovsdb

__all__ = ["Address", "Keeper"]

_LOG = logging.getLogger("manor.sdn.switch")
_REDIAL_S = 0.3
_GREET_S = 10.0
_ASK_S = 2.5
_ASK_AGAIN_S = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """Where a host's switch listens for OpenFlow, as ``unix:/path``, ``tcp:host:port`` or ``ssl:host:port``."""

    host: str
    openflow: str
    datapath_id: str = ""
    """16 hexadecimal digits that the switch must have; empty takes any."""
    pki_dir: str = ""
    """For ``ssl:``, see :class:`~manor_sdn_ryu.tls.Credentials`."""
    ovsdb: str = ""
    """The switch's database; empty where it is not known, and with it what kind of datapath the bridge has."""
    bridge: str = ""

    def is_userspace(self, timeout_s: float) -> bool:
        """Whether the bridge is known to have the userspace datapath. Raises DriverError."""
        return bool(self.ovsdb) and self._database().is_userspace(CallContext.within(timeout_s))

    def has_no_bridge(self, timeout_s: float) -> bool:
        """Whether the switch's database says that there is no such bridge."""
        try:
            return bool(self.ovsdb) and not self._database().has_bridge(CallContext.within(timeout_s))
        except DriverError:
            return False

    def _database(self) -> Ovsdb:
        from manor_sdn_ryu.config import SwitchConfig
        from manor_sdn_ryu.ovsdb import Ovsdb

        pki_dir = Path(self.pki_dir) if self.pki_dir else None
        switch = SwitchConfig(
            host=self.host, ovsdb=self.ovsdb, bridge=self.bridge, openflow=self.openflow, pki_dir=pki_dir
        )
        return Ovsdb(switch)

    @property
    def bridge_absent(self) -> str:
        """The name of the bridge where Open vSwitch runs and has none of this name yet; empty otherwise."""
        scheme, _, rest = self.openflow.partition(":")
        path = Path(rest)
        if scheme != "unix" or path.suffix != ".mgmt" or path.exists():
            return ""
        return path.stem if any(path.parent.glob("ovs-vswitchd*.ctl")) else ""

    def connect(self, on_error: Callable[[str], None], timeout_s: float = 5.0) -> socket.socket:
        """A connected socket; ``on_error`` hears why TLS on it broke off later. Raises OSError, Unauthorized."""
        scheme, _, rest = self.openflow.partition(":")
        if scheme == "unix":
            connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connected.settimeout(timeout_s)
            try:
                with at_path(Path(rest)) as address:
                    connected.connect(address)
            except OSError:
                connected.close()
                raise
            return connected
        name, _, port = rest.rpartition(":")
        connected = socket.create_connection((name.strip("[]"), int(port)), timeout_s)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in ((socket.TCP_KEEPIDLE, 5), (socket.TCP_KEEPINTVL, 2), (socket.TCP_KEEPCNT, 3)):
            connected.setsockopt(socket.IPPROTO_TCP, option, value)
        if scheme == "ssl":
            return dial(connected, Credentials(directory=Path(self.pki_dir)), timeout_s, on_error)
        return connected


class Keeper:
    """One switch. ``converge(keeper, devices)`` is called after it came (None) and when ports changed."""

    def __init__(self, address: Address, library: Library, converge: Callable[[Keeper, set[str] | None], None]) -> None:
        self.address = address
        self.reason = "not connected yet"
        self.absent = False
        """There is no such bridge, and nothing else is wrong."""
        self.ready = threading.Event()
        self.began = time.monotonic()
        self.tried = threading.Event()
        """Set once it is known whether the switch answers and, if so, what it held."""
        self._library = library
        self._converge = converge
        self._session: Session | None = None
        self._changed: set[str] = set()
        self._is_userspace = False
        self._anew = False
        """Whether all of the switch is to be converged again."""
        self._wake = threading.Event()
        self._stopped = False

    def start(self) -> None:
        """Begin to dial; the owner must know this keeper before, since the switch may answer at once."""
        for work in (self._dial, self._work):
            threading.Thread(target=work, name=f"{work.__name__} {self.address.host}", daemon=True).start()

    @property
    def session(self) -> Session:
        """The line to the switch. Raises Transient while there is none."""
        session = self._session
        if session is None or not session.alive or not self.ready.is_set():
            raise Transient(f"the switch of host {self.address.host} is not connected: {self.reason}")
        return session

    @property
    def ports(self) -> dict[str, int]:
        """OpenFlow ports by name; empty while not connected."""
        session = self._session
        return dict(session.ports) if session is not None and self.ready.is_set() else {}

    @property
    def datapath_id(self) -> str:
        """The switch's id as last seen."""
        return self._session.id if self._session is not None else self.address.datapath_id

    # --- called by the application

    def up(self, session: Session) -> None:
        """The handshake with the switch is done."""
        expected = self.address.datapath_id
        if expected and session.id != expected:
            self._refuse(f"it has datapath id {session.id} where {expected} was expected: refused")
            session.hang_up()
            return
        session.on_ports = self.changed
        self._session = session
        self._wake.set()

    def down(self, session: Session) -> None:
        """The line is gone."""
        if self._session is session:
            self.ready.clear()
            self.reason = "the connection was lost"
            _LOG.warning("host %s: switch %s disconnected", self.address.host, session.id)

    def _broken(self, why: str) -> None:
        """TLS with the switch ended for this reason."""
        self._refuse(f"the switch at {self.address.openflow}: {why}")

    def _refuse(self, why: str) -> None:
        if self.reason != why:
            _LOG.error("host %s: %s", self.address.host, why)
        self.reason = why
        self.tried.set()

    def changed(self, devices: set[str]) -> None:
        """Ports of these names came, went or changed their number."""
        self._changed |= devices
        self._wake.set()

    def stop(self) -> None:
        """Hang up and dial no more."""
        self._stopped = True
        self._wake.set()
        self.ready.clear()
        if self._session is not None:
            self._session.hang_up()

    # --- threads

    def _dial(self) -> None:
        pause = threading.Event()
        while not self._stopped:
            try:
                connected = self.address.connect(self._broken)
            except Unauthorized as error:
                self._refuse(f"the switch at {self.address.openflow}: {error.message}")
            except (OSError, ValueError) as error:
                bridge = self.address.bridge_absent
                self.reason = (
                    f"no bridge {bridge} yet: the first virtual link makes it"
                    if bridge
                    else f"the switch does not answer at {self.address.openflow}: {getattr(error, 'strerror', error)}"
                )
                self.absent = bool(bridge)
                self.tried.set()
            else:
                try:
                    self._library.serve(connected, self.address.host)
                except Exception as error:  # a switch may send anything; the library's parser may raise anything
                    _LOG.error("host %s: conversation broke off: %r", self.address.host, error)
            pause.wait(_REDIAL_S)

    def _work(self) -> None:
        greeted: Session | None = None
        while not self._stopped:
            self._wake.wait()
            self._wake.clear()
            session = self._session
            if session is None or not session.alive:
                continue
            try:
                if session is not greeted:
                    session.greet(_GREET_S)
                    self._learn_datapath(session)
                    self._changed.clear()
                    self.ready.set()
                    greeted = session
                    _LOG.info(
                        "host %s: switch %s connected, %d ports", self.address.host, session.id, len(session.ports)
                    )
                    self._converge(self, None)
                    self.tried.set()
                elif self._anew:
                    self._anew = False
                    self._changed.clear()
                    self._converge(self, None)
                elif self._changed:
                    devices, self._changed = self._changed, set()
                    self._converge(self, devices)
            except DriverError as error:
                _LOG.error("host %s: %s", self.address.host, error)
                if session.alive:
                    greeted = None
                    threading.Timer(1.0, self._wake.set).start()
            except Exception:  # the line must be kept whatever happens; the trace says what to mend
                _LOG.exception("host %s: converging failed", self.address.host)

    def _learn_datapath(self, session: Session) -> None:
        """The userspace datapath does what others may not. While the database is away it is as it was last, and asked
        again."""
        try:
            self._is_userspace = self.address.is_userspace(_ASK_S)
        except DriverError as error:
            _LOG.warning("host %s: its kind of datapath is not known for now: %s", self.address.host, error)
            again = threading.Timer(_ASK_AGAIN_S, self._learn_again, (session,))
            again.daemon = True
            again.start()
        session.is_userspace = self._is_userspace

    def _learn_again(self, session: Session) -> None:
        before = session.is_userspace
        if session.alive and session is self._session and not self._stopped:
            self._learn_datapath(session)
        if session.is_userspace != before:
            self._anew = True
            self._wake.set()

    def status(self) -> dict[str, Any]:
        """What people and topology() are told."""
        connected = self.ready.is_set()
        return {
            "host": self.address.host,
            "datapath_id": self.datapath_id,
            "connected": connected,
            "ports": self.ports,
            "openflow": self.address.openflow,
            "reason": "" if connected else self.reason,
            "metering": self._session.metering if connected and self._session is not None else None,
            "userspace": self._session.is_userspace if connected and self._session is not None else None,
            "absent": self.absent and not connected,
        }
