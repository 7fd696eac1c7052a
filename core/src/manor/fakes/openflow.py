"""A packet's walk through OpenFlow tables, without a switch: the assertion behind every test of a flow program.

It executes :class:`~manor.api.FlowRule` as OpenFlow 1.3 says: in each table the matching rule of highest priority,
its actions in order, groups, ``goto``, metadata; no match drops. Open vSwitch's ``move``, ``resubmit``, ``encap`` and
``decap`` are known too. Over a link the packet enters the peer's switch with its tunnel id and without its metadata.
Two rules of equal priority that both match and differ are an error, never a choice.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from manor.api import FlowProgram, FlowRule, GroupBucket, GroupRule, SwitchLink

__all__ = ["Ambiguous", "Arrival", "Fabric", "Packet", "Value", "Visit", "Walk", "agrees", "overlap"]

Value = str | int
Packet = Mapping[str, Value]
"""OXM fields of a frame, as ``{"eth_dst": "52:54:00:00:00:01", "eth_type": 0x800, "ipv4_src": "10.0.0.1"}``."""

MAX_PASSAGES = 1000
"""Passages through switches, copies counted, after which a frame is taken to circle or multiply for ever."""


class Ambiguous(AssertionError):
    """Two rules of one table and priority match one packet: what a switch would do is undefined."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """A frame that came out of a port which is no link."""

    host: str
    device: str
    packet: Packet


@dataclass(frozen=True, kw_only=True, slots=True)
class Visit:
    """One rule that a packet met."""

    host: str
    table: int
    rule: FlowRule


@dataclass(frozen=True, kw_only=True, slots=True)
class Walk:
    """What became of one frame and its copies."""

    arrivals: tuple[Arrival, ...]
    through: tuple[str, ...]
    """Devices of functions that it was handed to on its way, in order."""
    visits: tuple[Visit, ...]
    lost: tuple[str, ...]
    """Where copies ended without arriving, in words."""

    @property
    def devices(self) -> AbstractSet[str]:
        """Where it arrived."""
        return frozenset(arrival.device for arrival in self.arrivals)


@dataclass(slots=True)
class _Log:
    arrivals: list[Arrival] = field(default_factory=list)
    through: list[str] = field(default_factory=list)
    visits: list[Visit] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


class Fabric:
    """Switches with rules, joined by links.

    ``functions`` are bumps in the wire: a frame handed to the first device comes out of the second, on its host. One
    with a network service header comes out with its index one lower (RFC 8300).
    """

    def __init__(
        self,
        programs: Iterable[FlowProgram] = (),
        *,
        rules: Iterable[FlowRule] = (),
        groups: Iterable[GroupRule] = (),
        links: Iterable[SwitchLink] = (),
        functions: Mapping[str, tuple[str, str]] | None = None,
    ) -> None:
        programs = list(programs)
        self._tables: dict[tuple[str, int], list[FlowRule]] = {}
        for rule in [*rules, *(rule for program in programs for rule in program.rules)]:
            self._tables.setdefault((rule.host, rule.table), []).append(rule)
        for table in self._tables.values():
            table.sort(key=lambda rule: -rule.priority)
        self._groups = {
            (group.host, group.group_id): group
            for group in [*groups, *(group for program in programs for group in program.groups)]
        }
        links = list(links)
        ends = {(link.host, link.peer): link.device for link in links}
        self._links = {(link.host, link.device): (link.peer, ends.get((link.peer, link.host), "")) for link in links}
        self._functions = dict(functions or {})
        """(host, device) that a frame comes out of, by the device it goes into."""

    def send(self, host: str, device: str, packet: Packet) -> Walk:
        """Let a frame enter ``host``'s switch by ``device``, and follow it. Raises :class:`Ambiguous`."""
        log = _Log()
        pending = deque([(host, device, dict(packet))])
        for _ in range(MAX_PASSAGES):
            if not pending:
                break
            at, port, fields = pending.popleft()
            for out, sent in self._switch(at, port, fields, log):
                pending += self._leave(at, out, sent, log)
        else:
            log.lost.append(f"{len(pending)} copies circle for ever")
        return Walk(
            arrivals=tuple(log.arrivals),
            through=tuple(log.through),
            visits=tuple(log.visits),
            lost=tuple(log.lost),
        )

    def _leave(
        self, host: str, device: str, packet: dict[str, Value], log: _Log
    ) -> list[tuple[str, str, dict[str, Value]]]:
        """A frame goes out of a port: over a link, through a function, or it has arrived."""
        if (host, device) in self._links:
            peer, peer_device = self._links[host, device]
            return [(peer, peer_device, packet)]
        packet.pop("tunnel_id", None)
        if device in self._functions:
            log.through.append(device)
            out_host, out_device = self._functions[device]
            if "nsh_si" in packet:
                packet["nsh_si"] = int(packet["nsh_si"]) - 1
            return [(out_host, out_device, packet)]
        log.arrivals.append(Arrival(host=host, device=device, packet=packet))
        return []

    def _switch(self, host: str, in_port: str, packet: Packet, log: _Log) -> list[tuple[str, dict[str, Value]]]:
        """One passage through one switch: the frames that come out, and by which ports."""
        fields = {"metadata": 0, "tunnel_id": 0, **packet, "in_port": in_port}
        sent: list[tuple[str, dict[str, Value]]] = []
        self._run(host, 0, fields, sent, log)
        return sent

    def _run(
        self,
        host: str,
        first: int,
        fields: dict[str, Value],
        sent: list[tuple[str, dict[str, Value]]],
        log: _Log,
    ) -> None:
        table: int | None = first
        while table is not None:
            rule = self._lookup(host, table, fields)
            if rule is None:
                log.lost.append(f"no rule in table {table} of {host} for a frame from {fields['in_port']}")
                return
            log.visits.append(Visit(host=host, table=table, rule=rule))
            following = self._act(host, rule.actions, fields, sent, log)
            if following is not None and following <= table:
                raise ValueError(f"goto {following} from table {table} of {host}: OpenFlow goes forward only")
            if following is None and not sent:
                log.lost.append(f"dropped in table {table} of {host}: {rule.note or 'no action'}")
            table = following

    def _lookup(self, host: str, table: int, fields: Mapping[str, Value]) -> FlowRule | None:
        found: FlowRule | None = None
        for rule in self._tables.get((host, table), ()):
            if found is not None and rule.priority < found.priority:
                break
            if all(agrees(name, wanted, fields.get(name)) for name, wanted in rule.match):
                if found is not None and found.actions != rule.actions:
                    raise Ambiguous(
                        f"table {table} of {host}, priority {rule.priority}: {found.match} and {rule.match}"
                    )
                found = rule
        return found

    def _act(
        self,
        host: str,
        actions: Iterable[tuple[str, Value]],
        fields: dict[str, Value],
        sent: list[tuple[str, dict[str, Value]]],
        log: _Log,
    ) -> int | None:
        """Carry out actions in order; the table to go to next, if any."""
        following = None
        for name, argument in actions:
            match name:
                case "output":
                    out = str(fields["in_port"]) if argument == "in_port" else str(argument)
                    # OpenFlow never sends a frame back by its own port unless that is said in words.
                    if argument == "in_port" or out != fields["in_port"]:
                        sent.append((out, _frame(fields)))
                case "set_field":
                    target, _, value = str(argument).partition("=")
                    if not value.startswith("@"):  # the number of a port, which names do not have here
                        _set(fields, target, value)
                case "move":
                    origin, _, target = str(argument).partition("->")
                    fields[target] = fields[origin]
                case "goto":
                    following = int(argument)
                case "group":
                    bucket = choose(self._groups[host, int(argument)].buckets, fields)
                    self._act(host, bucket.actions, dict(fields), sent, log)
                case "resubmit":  # that table and where it goes to, and then on with the actions after it
                    self._run(host, int(argument), fields, sent, log)
                case "ct" if argument != "commit":  # nothing is remembered here: every connection is a new one
                    fields["ct_state"] = 0x21
                    self._run(host, int(argument), fields, sent, log)
                case "push_vlan":
                    fields["vlan_vid"] = 0x1000
                case "pop_vlan":
                    fields.pop("vlan_vid", None)
                case "encap" if argument == "nsh":
                    _wrap(fields)
                case "encap":  # the addresses of the Ethernet header, which are set next, are all that there is to it
                    pass
                case "decap":
                    _unwrap(fields)
                case "drop" | "meter" | "dec_ttl" | "ct":
                    pass
                case _:
                    raise ValueError(f"no such action: {name}")
        return following


def choose(buckets: tuple[GroupBucket, ...], fields: Mapping[str, Value]) -> GroupBucket:
    """The bucket of a select group for this frame: by weight over a hash that is equal both ways."""
    ends = sorted(str(fields.get(name, "")) for name in ("ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst"))
    total = sum(bucket.weight for bucket in buckets)
    point = zlib.crc32(" ".join(ends).encode()) % max(total, 1)
    for bucket in buckets:
        if point < bucket.weight:
            return bucket
        point -= bucket.weight
    return buckets[-1]


def overlap(one: FlowRule, other: FlowRule) -> bool:
    """Whether some frame matches both rules in one table at one priority."""
    if (one.host, one.table, one.priority) != (other.host, other.table, other.priority):
        return False
    theirs = dict(other.match)
    for name, value in one.match:
        if name not in theirs:
            continue
        (a, mask_a), (b, mask_b) = _masked(name, value), _masked(name, theirs[name])
        if (a ^ b) & mask_a & mask_b if isinstance(a, int) and isinstance(b, int) else a != b:
            return False
    return True


_INSIDE = "inside "
_OF_THE_SWITCH = ("metadata", "in_port", "tunnel_id")


def _wrap(fields: dict[str, Value]) -> None:
    """A network service header before the frame, whose fields no match sees any more."""
    for name in [name for name in fields if name not in _OF_THE_SWITCH and not name.startswith("reg")]:
        fields[_INSIDE + name] = fields.pop(name)
    fields |= {"eth_type": 0x894F, "nsh_spi": 0, "nsh_si": 255}


def _unwrap(fields: dict[str, Value]) -> None:
    """The outermost header goes: the Ethernet one, or else the network service header."""
    if fields.pop("eth_dst", None) is not None:
        fields.pop("eth_src", None)
        return
    for name in ("eth_type", "nsh_spi", "nsh_si"):
        fields.pop(name, None)
    for name in [name for name in fields if name.startswith(_INSIDE)]:
        fields[name.removeprefix(_INSIDE)] = fields.pop(name)


def _frame(fields: Mapping[str, Value]) -> dict[str, Value]:
    """What leaves a switch: no metadata, no registers, no in_port."""
    return {
        name: value
        for name, value in fields.items()
        if name not in ("metadata", "in_port") and not name.startswith(("reg", "xxreg"))
    }


def _set(fields: dict[str, Value], name: str, text: str) -> None:
    if name not in ("metadata", "tunnel_id") and not name.startswith("reg"):
        fields[name] = int(text, 0) if text.isdecimal() or text.startswith("0x") else text
        return
    value, mask = _masked(name, text)
    old = fields.get(name, 0)
    fields[name] = (int(old) & ~int(mask)) | (int(value) & int(mask))


def agrees(name: str, wanted: Value, have: Value | None) -> bool:
    """Whether a frame whose field ``name`` is ``have`` (None where it has none) meets a match on ``wanted``."""
    if have is None:
        # Registers start at zero; a frame without a tag has vlan_vid 0 (OFPVID_NONE); else the field is not there.
        if not (name.startswith("reg") or name == "vlan_vid"):
            return False
        have = 0
    value, mask = _masked(name, wanted)
    actual, _ = _masked(name, have)
    if isinstance(value, int) and isinstance(actual, int) and isinstance(mask, int):
        return (value ^ actual) & mask == 0
    return value == actual


def _masked(name: str, value: Value) -> tuple[Value, int]:
    """A match value as number and mask; what is no number stays text."""
    everything = (1 << 128) - 1
    if isinstance(value, int):
        return value, everything
    if name == "in_port":
        return value, everything
    text, _, mask = value.partition("/")
    if name.startswith(("ipv4", "ipv6", "arp_spa", "arp_tpa", "nd_target")) and mask.isdecimal():
        network = ip_network(value, strict=False)
        return int(network.network_address), int(network.netmask)
    number = _number(text)
    if number is None:
        return value, everything
    wanted_mask = _number(mask) if mask else everything
    return number, everything if wanted_mask is None else wanted_mask


def _number(text: str) -> int | None:
    if text.count(":") == 5 and all(len(part) == 2 for part in text.split(":")):
        return int(text.replace(":", ""), 16)
    try:
        return int(text, 0)
    except ValueError:
        pass
    try:
        return int(ip_address(text))
    except ValueError:
        return None
