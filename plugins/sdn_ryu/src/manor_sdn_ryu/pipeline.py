"""The pipeline: which table decides what, in which band of priorities, under which cookie.

Every rule that Manor puts into a switch follows this page. There are no base rules and no table-miss rules: a
switch with no segment holds nothing of ours, and what no rule admits is dropped by OpenFlow's own table miss.

::

      frame from a port                                      frame from another host (VXLAN)
             │                                                           │ tunnel_id
     ┌───────▼─────────────────────────────────────────────────────────▼──────────┐
     │  0 ADMIT     who sent it?   chain hop: out of a function ──► next function ─┼──► port / link
     │              port security: MAC, IP, ARP, ND; else counted and dropped      │
     │  2 INNER     out of a function with NSH, now without it: as a chain hop ────┼──► port / link
     │  5 TRACK     only from ports with rules: its connections, its rules         │
     └───────┬───────────────────────────────────────────┬────────────────────────┘
             │ metadata = segment                        │ chain's last hop, other hosts
     ┌───────▼────────────────────────────────────┐      │
     │ 10 CLASSIFY   is it a chain's? ────────────┼──────┼──► first function
     └───────┬────────────────────────────────────┘      │
     ┌───────▼────────────────────────────────────┐      │
     │ 20 ANSWER     ARP and ND from the plan     ├──────┼──► back out of in_port, or to the one it is about
     │ 25 ADVERTISE  the rest of an answer to ND ─┼──────┼──► back out of in_port
     └───────┬────────────────────────────────────┘      │
     ┌───────▼───────────────────────────────────────────▼────────────────────────┐
     │ 30 FORWARD    known MAC: its port; group address: the segment's ports       │
     └───────┬─────────────────────────────────────────────────────────────────────┘
     ┌───────▼────────────────────────────────────┐
     │ 40 DELIVER    only to ports with rules ────┼──► port
     │ 45 TRACKED    its connections, its rules ──┼──► port
     └────────────────────────────────────────────┘

**What keeps tenants apart.** ADMIT is the only place where a frame gets its segment, and it is decided by the port
that it came from alone. All later rules of a segment match that segment in ``metadata``, so equal MAC and IP
addresses in two segments never meet. Each segment's rules name only its own ports.

**metadata** (64 bits): bits 63..24 the tag of the segment, bit 0 set where the frame came from another host
(it is then not sent to other hosts again).

**Cookies** (64 bits): bits 63..40 a hash of the owner tag (never 0), bits 39..0 the tag of the resource, a hash over
owner, kind and key. So ``cookie/0xffffff0000000000`` finds everything of one installation, and a full cookie one
segment or chain. A rule whose cookie is not ours is never changed or removed. Two keys with one cookie are refused.

**Tunnel ids** (24 bits, VXLAN): the low bits of the segment's tag between hosts' FORWARD tables, or, with the highest
bit set, of a chain hop's tag when the next function is on another host. Where another program has one already, the
agent compiles the later one with other bits of its tags. Tunnel id 0 is a probe's.

**Priorities** (a larger one wins)

=========  =======================  =====================================================================
table      band                     what
=========  =======================  =====================================================================
ADMIT      STEER                    frame of a chain out of a function, to the next one (also from a link)
           LINK                     frame of a segment from another host
           GUARD                    what a port may never send: others' ND, router advertisements
           ALLOW                    what a port may send, by MAC and address
           REFUSE                   anything else from the port: counted, dropped
INNER      STEER                    as in ADMIT, the frame inside the header
CLASSIFY   STEER                    classified frame of a source to an end with a MAC, to the first function
           KNOWN                    to a MAC of the segment or a group: of no chain to the outside
           OUTSIDE                  classified frame of a source to the outside, to the first function
           PASS                     all else of the segment, onwards
ANSWER     ANSWER_OWN               a question about the asker's own address (duplicate detection): not answered;
                                    ARP from a VLAN: answered with its tag
           ANSWER                   ARP request, and solicitation with room for an answer: answered here
           ASKED                    other solicitations, and all where the switch cannot answer: to the one target
           ANSWER_NONE              ARP request or solicitation for an address that nobody has: counted, dropped
           PASS                     all else, onwards
ADVERTISE  ANSWER_OWN               answer to a solicitation from a VLAN: with its tag, back where it came from
           ANSWER                   answer to any other: back where it came from
FORWARD    UNICAST                  to the one port with this MAC
           GROUP                    broadcast and multicast, to every port of the segment
           REFUSE                   to a MAC that nobody has: to the ports to the outside; without one counted, dropped
TRACK,     GUARD                    of a connection that was admitted
TRACKED    ALLOW                    a new connection that a security rule admits (or any, where there is none)
           REFUSE                   any other: counted, dropped
DELIVER    ALLOW                    ARP, ND, DHCP at once; IP to conntrack
           REFUSE                   other protocols
=========  =======================  =====================================================================

A chain's rules stand at STEER + 32 x its precedence (0 to 999) + 0 to 31: first the more exact one (both ends by
address, then one), and overlapping classifiers of one chain in their order, the way there before the way back. Chains
match ``in_port`` to know how far a frame has come: transparent functions get frames unchanged. DELIVER knows the port
by ``reg0``, its number in the segment.

**Network service headers** are put on before a function that wants them and taken off behind it: ADMIT matches port,
service path and index, INNER what was inside, with the way's tag in ``metadata``. See :mod:`manor_sdn_ryu.nsh`.

**Ports to the outside** have no MAC, or a VLAN. What comes in with the VLAN (or with none) loses its tag in ADMIT and
is of the segment; under a MAC or an address of the segment's own it is dropped and counted. What goes to a MAC that
the segment does not have leaves by them, tagged again.

**Connections** are tracked only for ports with security rules, in the conntrack zone (``reg1``) of the port's own
OpenFlow number, so that equal addresses of two tenants never share one.

**Meters** stand before the actions of ADMIT's rules for ports with a rate limit, and of FORWARD's rules that deliver on
this host for links with one: every frame meets exactly one of each.

**Neighbour discovery** is answered in two tables, since a switch writes the option of an advertisement only where the
match says that it is one. A solicitation has room for the answer where it brings its sender's MAC, which duplicate
address detection does not. Only Open vSwitch's userspace datapath writes flags and options; on others the rules that do
are left out (:func:`~manor_sdn_ryu.entries.resolve`), and those at ASKED do all.

**Beyond OpenFlow 1.3** only what Open vSwitch has had for long: ``move`` (in answers), ``resubmit`` (a broadcast to
several filtered ports), ``ct``, registers, ``nd_reserved`` and ``nd_options_type``, ``encap``, ``decap`` and the fields
of NSH, and atomic bundles (ONF extension 230).
"""

from __future__ import annotations

import hashlib
from enum import IntEnum

from manor.api import ResourceKind

__all__ = [
    "ALL_BITS",
    "COMPILER",
    "LOCAL",
    "OWNER_MASK",
    "REMOTE",
    "SEGMENT_MASK",
    "Priority",
    "Table",
    "cookie",
    "metadata_of",
    "owner_bits",
    "tag",
    "tunnel_id",
]

COMPILER = 6
"""Raised whenever the pipeline changes, so that an agent compiles anew what an older release left."""

ALL_BITS = (1 << 64) - 1
OWNER_MASK = 0xFFFFFF << 40
SEGMENT_MASK = ALL_BITS & ~0xFFFFFF
LOCAL, REMOTE = 0, 1
_TAG_BITS = 40
_OF_A_CHAIN = 1 << 23
_TUNNEL_MASK = _OF_A_CHAIN - 1


class Table(IntEnum):
    """OpenFlow table numbers; the gaps are for what comes later."""

    ADMIT = 0
    INNER = 2
    TRACK = 5
    CLASSIFY = 10
    ANSWER = 20
    ADVERTISE = 25
    FORWARD = 30
    DELIVER = 40
    TRACKED = 45


class Priority(IntEnum):
    """Bands, by their base; see the table above."""

    STEER = 30000
    KNOWN = 28500
    LINK = 25000
    GUARD = 21000
    ALLOW = 20000
    UNICAST = 20000
    ANSWER_OWN = 20100
    OUTSIDE = 20000
    ANSWER = 20000
    ASKED = 19000
    GROUP = 10000
    ANSWER_NONE = 9000
    REFUSE = 1000
    PASS = 1


def _hash(*parts: str) -> int:
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:8], "big")


def tag(owner: str, kind: ResourceKind, key: str, *more: str) -> int:
    """40 bits that stand for one resource (or a part of it) of one installation; never 0."""
    return _hash(owner, str(kind), key, *more) >> (64 - _TAG_BITS) or 1


def owner_bits(owner: str) -> int:
    """The part of a cookie, in place, that says whose the rule is."""
    return (_hash("owner", owner) >> 40 or 1) << _TAG_BITS


def cookie(owner: str, kind: ResourceKind, key: str) -> int:
    """The cookie of every rule of this resource."""
    return owner_bits(owner) | tag(owner, kind, key)


def metadata_of(owner: str, segment: str) -> int:
    """The metadata of a frame of this segment, without flags."""
    return tag(owner, ResourceKind.SEGMENT, segment) << 24


def tunnel_id(kind: ResourceKind, value: int, salt: int = 0) -> int:
    """24 bits that travel in a VXLAN header, from a tag: a chain's are never a segment's, and none are 0. ``salt``
    takes other bits of it."""
    return value >> salt & _TUNNEL_MASK | (_OF_A_CHAIN if kind is ResourceKind.CHAIN else 0) or 1
