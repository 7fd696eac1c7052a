"""A conversation with one connected switch: send, wait for the answers, know its ports.

A request is done when the barrier behind it was answered; only then is it known what the switch took. Works on
eventlet's threads and on real ones alike, since it uses the standard library's locks.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from manor.errors import DeadlineExceeded, DriverError, Indeterminate, Permanent, Transient
from manor_sdn_ryu.changes import Change
from manor_sdn_ryu.deadlines import check, left_s
from manor_sdn_ryu.encode import Encoder
from manor_sdn_ryu.entries import METERS, Action
from manor_sdn_ryu.turns import Turns
from manor_sdn_ryu.wire import flow_stats_request, meter_mod, packet_out

__all__ = ["Session", "Shown"]

_CHUNK_BYTES = 60000
_AT_ONCE = 256
"""Changes that are packed before others get a turn."""
_XID_MAX = 0xFFFFFFFF


_Message = Callable[[int], bytes]
"""The bytes of a message with this transaction id."""


def _library(message: Any) -> _Message:
    """A message that the library makes."""

    def encoded(xid: int) -> bytes:
        message.set_xid(xid)
        message.serialize()
        return bytes(message.buf)

    return encoded


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A frame that a rule showed to us."""

    cookie: int
    table: int
    in_port: int
    frame: bytes
    time_s: float
    """Monotonic."""


class _Pending:
    """What a request waits for: everything up to the reply to its barrier."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.replies: list[Any] = []
        self.errors: list[Any] = []


class Session:
    """One switch for as long as its connection lasts. Safe to use from several threads."""

    def __init__(self, datapath: Any) -> None:
        self.datapath = datapath
        self.id = f"{datapath.id:016x}"
        self.address = str(datapath.address)
        self.ports: dict[str, int] = {}
        self.down: dict[str, str] = {}
        """Hardware addresses of ports that somebody set down."""
        self.metering = False
        """Whether the switch has meters."""
        self.is_userspace = False
        """Whether its datapath is Open vSwitch's own: only that is known to make an answer of a neighbour solicitation,
        and to put on and take off a network service header."""
        self.meters: dict[int, int] = {}
        """Our meters in the switch: kbit/s by number."""
        self._doubts_meters = False
        self.on_ports: Callable[[set[str]], None] = lambda _: None
        self.alive = True
        self._watchers: list[Callable[[Shown], None]] = []
        self._encoder = Encoder(datapath)
        self._lock = threading.Lock()
        self._xids = itertools.count(0x4D000000)
        self._bundles = itertools.count(1)
        self._waiting: dict[int, _Pending] = {}

    # --- called by the application

    def deliver(self, message: Any) -> None:
        """Take a message from the switch."""
        if type(message).__name__ == "OFPPortStatus":
            self._port(message)
            return
        if type(message).__name__ == "OFPPacketIn":
            self._show(message)
            return
        pending = self._waiting.get(message.xid)
        if pending is None:
            return
        match type(message).__name__:
            case "OFPErrorMsg":
                pending.errors.append(message)
            case "OFPBarrierReply":
                pending.done.set()
            case "OFPPortDescStatsReply":
                # Here, in the order in which the switch says it: a port event behind the list is newer than the list.
                self._learn_ports(message)
            case _:
                pending.replies.append(message)

    def _show(self, message: Any) -> None:
        shown = Shown(
            cookie=message.cookie, table=message.table_id, in_port=int(message.match["in_port"]),
            frame=bytes(message.data or b""), time_s=time.monotonic(),
        )  # fmt: skip
        for watcher in list(self._watchers):
            watcher(shown)

    def closed(self) -> None:
        """The connection is gone: whoever waits learns it now."""
        self.alive = False
        for pending in list(self._waiting.values()):
            pending.done.set()

    def _learn_ports(self, message: Any) -> None:
        last = self.datapath.ofproto.OFPP_MAX
        for port in message.body:
            if port.port_no < last:
                self.ports[_name(port)] = port.port_no
                self._learn_whether_up(port)

    def _number(self, device: str) -> int:
        """Of a port. Raises Transient where it is not there."""
        number = self.ports.get(device)
        if number is None:
            raise Transient(f"switch {self.id} has no port {device}")
        return number

    def _learn_whether_up(self, port: Any) -> None:
        if port.config & self.datapath.ofproto.OFPPC_PORT_DOWN:
            self.down[_name(port)] = port.hw_addr
        else:
            self.down.pop(_name(port), None)

    def _port(self, message: Any) -> None:
        ofp, port = self.datapath.ofproto, message.desc
        name = _name(port)
        if message.reason == ofp.OFPPR_DELETE:
            if self.ports.get(name) == port.port_no:
                del self.ports[name]
                self.down.pop(name, None)
        else:
            self._learn_whether_up(port)
            if self.ports.get(name) == port.port_no:
                return
            self.ports[name] = port.port_no
        self.on_ports({name})

    # --- called by others

    @property
    def able(self) -> dict[str, bool]:
        """What this switch can do, as :func:`~manor_sdn_ryu.entries.resolve` asks for it."""
        return {"metering": self.metering, "writes_nd": self.is_userspace}

    def greet(self, timeout_s: float) -> None:
        """Ask for port events (a dialled switch sends none unasked) and learn the ports."""
        parser = self.datapath.ofproto_parser
        self._request(
            [
                _library(parser.OFPSetConfig(self.datapath, 0, 128)),
                _library(parser.OFPPortDescStatsRequest(self.datapath, 0)),
            ],
            timeout_s,
        )
        self._learn_meters(timeout_s)

    def _learn_meters(self, timeout_s: float) -> None:
        parser, ofp = self.datapath.ofproto_parser, self.datapath.ofproto
        try:
            features = self._request([_library(parser.OFPMeterFeaturesStatsRequest(self.datapath, 0))], timeout_s)
            self.metering = any(one.max_meter >= METERS.stop for reply in features for one in reply.body)
            asked = [parser.OFPMeterConfigStatsRequest(self.datapath, 0, ofp.OFPM_ALL)] if self.metering else []
            held = [one for reply in self._request(map(_library, asked), timeout_s) for one in reply.body]
        except Permanent:  # a switch without meters says that it does not know the question
            self.metering, held = False, []
        self.meters = {one.meter_id: one.bands[0].rate for one in held if one.meter_id in METERS and one.bands}

    def set_meters(self, wanted: Mapping[int, int], timeout_s: float) -> None:
        """These meters are there and have these rates (kbit/s)."""
        if self._doubts_meters:
            self._learn_meters(timeout_s)
            self._doubts_meters = False
        changed = {meter: kbps for meter, kbps in wanted.items() if self.meters.get(meter) != kbps}
        if changed:
            commands = {meter: "MODIFY" if meter in self.meters else "ADD" for meter in changed}
            mods = [meter_mod(self.datapath, meter, kbps, commands[meter]) for meter, kbps in changed.items()]
            self._mod_meters(mods, timeout_s)
            self.meters |= changed

    def set_up(self, devices: Iterable[str], timeout_s: float) -> None:
        """Those of these ports that are set down go up. Raises Permanent where the switch will not."""
        ofp, parser = self.datapath.ofproto, self.datapath.ofproto_parser
        addresses, numbers = self.down.copy(), self.ports.copy()  # which the switch may change meanwhile
        down = addresses.keys() & numbers.keys() & set(devices)
        mods = [
            parser.OFPPortMod(self.datapath, numbers[name], addresses[name], 0, ofp.OFPPC_PORT_DOWN, 0)
            for name in sorted(down)
        ]
        if mods:
            self._request(map(_library, mods), timeout_s)
            for name in down:  # a switch tells of it everybody but who did it
                self.down.pop(name, None)

    def keep_meters(self, used: Collection[int], timeout_s: float) -> None:
        """Delete our other meters (and with one a switch deletes every flow that names it)."""
        spare = [meter for meter in self.meters if meter not in used]
        if spare:
            self._mod_meters([meter_mod(self.datapath, meter, 0, "DELETE") for meter in spare], timeout_s)
            self.meters = {meter: kbps for meter, kbps in self.meters.items() if meter not in spare}

    def _mod_meters(self, mods: Iterable[Any], timeout_s: float) -> None:
        try:
            self._request(map(_library, mods), timeout_s)
        except DriverError:
            self._doubts_meters = True  # some may have been taken, or all after the time was up
            raise

    def flows(self, cookie: int, mask: int, timeout_s: float) -> list[Any]:
        """Flow statistics records of all entries with such a cookie."""
        replies = self._request([_library(flow_stats_request(self.datapath, cookie, mask))], timeout_s)
        return [record for reply in replies for record in reply.body]

    def inject(self, frame: bytes, device: str, tunnel_id: int, timeout_s: float) -> None:
        """Let the switch send a frame of ours out of a tunnel's port."""
        actions = (("set_field", "tunnel_id", tunnel_id), ("output", self._number(device)))
        self._request([_library(packet_out(self.datapath, frame, actions))], timeout_s)

    def put_out(self, frame: bytes, device: str, before: Sequence[Action], timeout_s: float) -> None:
        """Let the switch do something to a frame of ours and send it out of a port."""
        actions = (*before, ("output", self._number(device)))
        self._request([_library(packet_out(self.datapath, frame, actions))], timeout_s)

    def put_in(self, frame: bytes, device: str, behind: tuple[int, int] | None, timeout_s: float) -> None:
        """Let the switch take a frame of ours as if it had come in by a port; ``behind`` (table, metadata) skips what
        stands before that table."""
        actions: tuple[Action, ...] = (("output", self.datapath.ofproto.OFPP_TABLE),)
        if behind is not None:
            actions = (("set_field", "metadata", behind[1]), ("resubmit", behind[0]))
        message = packet_out(self.datapath, frame, actions, in_port=self._number(device))
        self._request([_library(message)], timeout_s)

    @contextlib.contextmanager
    def watching(self, watcher: Callable[[Shown], None]) -> Iterator[None]:
        """Meanwhile ``watcher`` is told, in the receiving thread, of every frame that a rule shows."""
        self._watchers.append(watcher)
        try:
            yield
        finally:
            self._watchers.remove(watcher)

    def received(self, device: str, timeout_s: float) -> int:
        """Packets that came in by a port so far."""
        request = self.datapath.ofproto_parser.OFPPortStatsRequest(self.datapath, 0, self._number(device))
        return sum(
            record.rx_packets for reply in self._request([_library(request)], timeout_s) for record in reply.body
        )

    def send(self, changes: Sequence[Change], timeout_s: float, *, lifetime_s: int = 0) -> None:
        """Make the changes, all or none, in an ordered atomic bundle; returns when the switch has answered.

        What is put lives for ``lifetime_s`` whole seconds in the switch, or (0) until it is deleted.

        Raises Permanent when it refused, Transient when it is not connected or had let go of the bundle,
        DeadlineExceeded when no time was left to commit it, Indeterminate when no answer came.
        """
        if not changes:
            return
        ofp, parser = self.datapath.ofproto, self.datapath.ofproto_parser
        number, flags = next(self._bundles), ofp.ONF_BF_ATOMIC | ofp.ONF_BF_ORDERED

        def control(kind: int) -> _Message:
            return _library(parser.ONFBundleCtrlMsg(self.datapath, number, kind, flags, []))

        def add(these: Sequence[Change]) -> _Message:
            """Many messages under one transaction id: any error under it is heard."""

            def encoded(xid: int) -> bytes:
                bundled = self._encoder.bundled
                return b"".join(
                    [
                        bundled(c.entry, delete=c.delete, bundle=number, flags=flags, xid=xid, lifetime_s=lifetime_s)
                        for c in these
                    ]
                )

            return encoded

        until = time.monotonic() + timeout_s
        parts = (changes[start : start + _AT_ONCE] for start in range(0, len(changes), _AT_ONCE))
        try:
            # A message that Open vSwitch cannot read it leaves out of the bundle, and would commit the others.
            self._request(itertools.chain([control(ofp.ONF_BCT_OPEN_REQUEST)], map(add, parts)), timeout_s)
            check(until, f"switch {self.id} to take {len(changes)} changes")
            self._request([control(ofp.ONF_BCT_COMMIT_REQUEST)], left_s(until))
        except (Permanent, Transient, DeadlineExceeded):
            with contextlib.suppress(DriverError):
                self._request([control(ofp.ONF_BCT_DISCARD_REQUEST)], left_s(until))
            self._doubts_meters = True  # a rule that names a meter which somebody deleted is refused
            raise

    def _request(self, messages: Iterable[_Message], timeout_s: float) -> list[Any]:
        if not self.alive:
            raise Transient(f"switch {self.id} is not connected")
        pending = _Pending()
        xids = []
        buffer = bytearray()
        turns = Turns()
        with self._lock:
            barrier = _library(self.datapath.ofproto_parser.OFPBarrierRequest(self.datapath))
            for message in itertools.chain(messages, [barrier]):
                xid = next(self._xids) & _XID_MAX
                xids.append(xid)
                self._waiting[xid] = pending
                buffer += message(xid)
                if len(buffer) > _CHUNK_BYTES:
                    self.datapath.send(bytes(buffer))
                    buffer.clear()
                    turns.give()
            self.datapath.send(bytes(buffer))
        try:
            if not pending.done.wait(timeout_s):
                raise Indeterminate(f"switch {self.id} did not answer within {timeout_s:.1f} s")
        finally:
            for xid in xids:
                self._waiting.pop(xid, None)
        if not self.alive:
            raise Indeterminate(f"switch {self.id} hung up before it answered")
        if pending.errors:
            raise _refusal(self.id, self.datapath.ofproto, pending.errors[0])
        return pending.replies

    def hang_up(self) -> None:
        """Close the connection."""
        self.datapath.close()


def _refusal(switch: str, ofp: Any, error: Any) -> DriverError:
    """What an error message comes to: a bundle that waited too long for its rest is none the switch would not take."""
    code = error.exp_type if error.type == ofp.OFPET_EXPERIMENTER else error.code
    text = f"switch {switch} refused a message: OpenFlow error type {error.type} code {code}"
    is_late = error.type == ofp.OFPET_EXPERIMENTER and code in (ofp.ONFERR_ET_BAD_ID, ofp.ONFERR_ET_TIMEOUT)
    return Transient(text) if is_late else Permanent(text)


def _name(port: Any) -> str:
    name = port.name
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)
