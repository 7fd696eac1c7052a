"""VXLAN tunnels between the integration bridges of hosts, so that segments and chains may cross hosts.

A tunnel is wanted between two hosts when some program's rules name it; it is built before the first such program is
applied, and goes with the last. Its name is made from both ends' addresses, so that :func:`links` can tell the compiler
about a tunnel before it exists. What is built is found again by name and owner tag, never by memory: a process that
died in between leaves nothing that the next one would not find.

With the kernel's datapath the underlay address is on any interface. The userspace datapath (``netdev``) sends through
Open vSwitch itself: there the address must be on a bridge of its own, which has the network card as a port.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import os
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from manor.api import CallContext, ChainSpec, FlowProgram, SegmentSpec, SwitchLink
from manor.errors import Transient, Unsupported
from manor_sdn_ryu.config import SwitchConfig
from manor_sdn_ryu.facts import devices_of

__all__ = [
    "OVERHEAD_BYTES",
    "PREFIX",
    "Tunnel",
    "guard",
    "links",
    "mtu_over",
    "named",
    "refuse_mtu",
    "spare",
    "tunnels",
]

OVERHEAD_BYTES = 50
"""What VXLAN over IPv4 adds to a packet: the inner Ethernet header, VXLAN, UDP and IPv4."""
_OVERHEAD_6_BYTES = 70
PREFIX = "mvx-"
_POLL_S = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Tunnel:
    """One host's end of a tunnel."""

    host: str
    peer: str
    device: str
    local: str
    remote: str


def _device(bridge: str, local: str, remote: str) -> str:
    return PREFIX + hashlib.sha256(f"{bridge} {local} {remote}".encode()).hexdigest()[:10]


def tunnels(switches: Iterable[SwitchConfig]) -> tuple[Tunnel, ...]:
    """Every tunnel there may be: one each way between any two hosts with an underlay address of one IP version."""
    return tuple(
        Tunnel(
            host=one.host,
            peer=other.host,
            device=_device(one.bridge, one.underlay, other.underlay),
            local=one.underlay,
            remote=other.underlay,
        )
        for one, other in itertools.permutations([s for s in switches if s.underlay], 2)
        if (":" in one.underlay) == (":" in other.underlay)
    )


def links(switches: Iterable[SwitchConfig]) -> tuple[SwitchLink, ...]:
    """The same, as the compiler wants to know it."""
    return tuple(SwitchLink(host=t.host, peer=t.peer, device=t.device) for t in tunnels(switches))


def named(program: FlowProgram, known: Iterable[Tunnel]) -> list[Tunnel]:
    """The tunnels that a program's rules send into or take from."""
    devices = devices_of(program)
    return [tunnel for tunnel in known if (tunnel.host, tunnel.device) in devices]


def spare(ports: Mapping[str, Iterable[str]], used: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
    """Tunnels that are there (by host) and that no program uses."""
    found = {
        host: sorted(d for d in there if d.startswith(PREFIX) and d not in used.get(host, ()))
        for host, there in ports.items()
    }
    return {host: devices for host, devices in found.items() if devices}


def mtu_over(one: SwitchConfig, other: SwitchConfig) -> int:
    """The largest IP packet of a machine that fits into the tunnel between two hosts."""
    overhead = _OVERHEAD_6_BYTES if ":" in one.underlay else OVERHEAD_BYTES
    return min(one.underlay_mtu, other.underlay_mtu) - overhead


def refuse_mtu(spec: SegmentSpec | ChainSpec, switches: Sequence[SwitchConfig]) -> None:
    """Raise Unsupported when a segment over several hosts promises its machines larger packets than a tunnel takes.

    (They would vanish: nobody on the way may fragment a frame, and no router is there to say that it is too big.)
    """
    if not isinstance(spec, SegmentSpec):
        return
    over = {switch.host: switch for switch in switches if switch.underlay}
    hosts = sorted({port.host for port in spec.ports} & over.keys())
    for one, other in itertools.combinations(hosts, 2):
        most = mtu_over(over[one], over[other])
        if spec.mtu > most:
            raise Unsupported(
                f"{spec.name}: it has an MTU of {spec.mtu} and spans hosts {one} and {other}, between which at most"
                f" {most} fit (underlay MTU less {OVERHEAD_BYTES if '.' in over[one].underlay else _OVERHEAD_6_BYTES})",
                capability="overlay",
                hint=f"mtu: {most} in the link's l2_protocol_data, or a larger underlay_mtu where the network has it",
            )


@contextlib.contextmanager
def guard(state_dir: Path, ctx: CallContext, *, exclusive: bool) -> Iterator[None]:
    """Nobody takes a tunnel away (exclusive) while somebody is about to use it; over all processes of this endpoint.

    Raises Transient when it cannot be had before the deadline.
    """
    handle = os.open(state_dir / "tunnels.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(handle, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if ctx.remaining_s() < _POLL_S:
                    raise Transient("tunnels between hosts are being changed by another call") from None
                threading.Event().wait(_POLL_S)
        yield
    finally:
        os.close(handle)
