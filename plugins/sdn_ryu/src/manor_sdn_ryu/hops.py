"""How a chain's frames are told apart on their way between hosts: each hop over a link has a tunnel id of its own.

The id is made from where the hop leads, and so is the same whichever host it comes from. A chain that has to do without
a function may hand frames over links that it does not use otherwise, under ids that nothing was compiled with before.
:func:`arrivals` names them all, so that they are kept free from the beginning. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from manor.api import ChainElement, ChainSpec, ElementMode, FailMode, FlowRule, ResourceKind, SdnPort, Topology
from manor_sdn_ryu.fields import exact, render_match
from manor_sdn_ryu.names import word
from manor_sdn_ryu.pipeline import Priority, Table, tag, tunnel_id
from manor_sdn_ryu.segment import Actions

__all__ = ["arrival", "arrivals", "hop_id", "passages"]

_WAYS = ("there", "back")


def passages(spec: ChainSpec) -> Iterator[tuple[ChainElement, SdnPort, SdnPort]]:
    """Every way through a function: it, the port that leads into it, and the port out of it."""
    for position in spec.positions:
        for element in position.elements:
            yield element, element.ingress, element.egress
            yield element, element.egress, element.ingress


def hop_id(spec: ChainSpec, to: SdnPort, way: str, salt: int) -> str:
    """The tunnel id of the chain's frames on their way to the port ``to``. ``way`` is empty where the frame itself says
    which one it goes."""
    number = tag(spec.owner, ResourceKind.CHAIN, spec.key, to.device, *filter(None, [way]))
    return f"0x{tunnel_id(ResourceKind.CHAIN, number, salt):x}"


def arrival(to: SdnPort, device: str, hop: str, actions: Actions, note: str) -> FlowRule:
    """What becomes of a hop's frames where they come out of the link ``device``, on the host of ``to``."""
    return FlowRule(
        host=to.host, table=Table.ADMIT, priority=Priority.STEER,
        match=render_match({"tunnel_id": exact("tunnel_id", hop)}, in_port=device), actions=actions, note=note,
    )  # fmt: skip


def arrivals(spec: ChainSpec, topology: Topology, salt: int) -> tuple[FlowRule, ...]:
    """Every hop over a link that the chain may have, whichever of its functions are gone, as rules without actions;
    none where the loss of a function leads no frame another way."""
    if all(len(one.elements) == 1 and one.fail_mode is FailMode.CLOSED for one in spec.positions):
        return ()
    hosts = {port.host for port in (*spec.sources, *spec.destinations, *(into for _, into, _ in passages(spec)))}
    return tuple(
        arrival(to, link.device, hop_id(spec, to, way, salt), (), f"{spec.name}: to {word(to)}, from host {link.peer}")
        for to, way in dict.fromkeys(_targets(spec))
        for link in topology.links
        if link.host == to.host and link.peer in hosts
    )


def _targets(spec: ChainSpec) -> Iterator[tuple[SdnPort, str]]:
    for end in (*spec.sources, *spec.destinations):
        yield end, ""
    for position in spec.positions:
        for element in position.elements:
            for port, way in zip((element.ingress, element.egress), _WAYS, strict=True):
                yield port, way if element.mode is ElementMode.NSH else ""
