"""``manor sdn trace``: a packet from any machine to any other, whichever link and chains it meets on its way."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from manor.cli.endpoints import find_endpoint
from manor.cli.exits import ExitCode
from manor.cli.packet import packet_fields
from manor.cli.sdnports import Device, devices_of
from manor.cli.session import Session, session
from manor.errors import UsageError
from manor.model.instance import EndpointKind

__all__ = ["trace"]

_LOOK_S = 60.0
_IPV4, _IPV6 = 0x0800, 0x86DD

Name = Annotated[str, typer.Argument(metavar="NAME", help="The controller's name, or the start of it.")]
From = Annotated[
    str, typer.Argument(metavar="FROM", help="The machine that sends: SERVICE/VNF, SERVICE/VNF/PORT, or a device.")
]
To = Annotated[str, typer.Argument(metavar="TO", help="As FROM, or an IP or MAC address.")]
Packet = Annotated[str, typer.Option("--packet", "-p", help="As tcp,dst_port=80; what is not said is as usual.")]


def trace(ctx: typer.Context, name: Name, source: From, target: To, packet: Packet = "") -> None:
    """Follow a packet through the switches' own tables to where it arrives or stops, and why; ends with 1 where it
    stops."""
    from manor.api import CallContext, Traced
    from manor.errors import Unsupported

    s = session(ctx)
    endpoint = find_endpoint(s, EndpointKind.SDN, name).name
    driver: Any = s.runtime.sdn(endpoint)
    if not isinstance(driver, Traced):
        raise Unsupported(f"the controller {endpoint} cannot trace", capability="trace")
    devices = devices_of(s)
    sender, whose = _port(source, devices)
    fields = _frame(whose, _address(target, devices), packet_fields(packet))
    fields["in_port"] = sender
    hops = driver.trace(_segment(s, endpoint, sender), fields, CallContext.within(_LOOK_S))

    def named(device: str) -> str:
        return f"{devices[device].vnf}/{devices[device].port}" if device in devices else device

    def worded(note: str) -> str:
        return " ".join(named(word) for word in note.split(" "))

    rows = [
        (number, hop.host, named(hop.device), "" if hop.table is None else hop.table, worded(hop.note))
        for number, hop in enumerate(hops, start=1)
    ]
    ends = [hop for hop in hops if hop.table is None]
    stops = [hop for hop in ends if hop.note.startswith("stops") or "is not on the switch" in hop.note]
    arrives = bool(ends) and not stops
    last = (
        f"it arrives at {named(ends[-1].device)}" if arrives else worded(stops[0].note) if stops else "it goes nowhere"
    )

    def human() -> None:
        s.out.line("packet: " + ", ".join(f"{k}={v}" for k, v in fields.items() if k != "in_port"))
        s.out.table(("step", "host", "port", "table", "what"), rows, right=("step", "table"))
        s.out.line(last, style="green" if arrives else "red")

    shown = [
        {"host": h.host, "device": h.device, "port": named(h.device), "table": h.table, "rule": h.rule, "note": h.note}
        for h in hops
    ]
    s.out.result({"packet": fields, "hops": shown, "arrives": arrives, "why": "" if arrives else last}, human)
    if not arrives:
        raise typer.Exit(ExitCode.GENERAL)


def _port(typed: str, devices: Mapping[str, Device]) -> tuple[str, Device]:
    """The one port that is meant. Raises UsageError where none or several are."""
    if typed in devices:
        return typed, devices[typed]
    service, _, rest = typed.partition("/")
    vnf, _, port = rest.partition("/")
    found = {
        device: whose
        for device, whose in devices.items()
        if whose.service == service and vnf in (whose.vnf, whose.vnfc) and port in ("", whose.port)
    }
    if not found:
        raise UsageError(f"no machine has a port {typed}", hint="SERVICE/VNF/PORT as in: manor sdn ports NAME")
    if len(found) > 1:
        # Machines of one VNF have ports of one name: then their devices tell them apart.
        same = Counter((one.vnf, one.port) for one in found.values())
        several = {device for device, one in found.items() if same[one.vnf, one.port] > 1}
        names = ", ".join(sorted({f"{service}/{one.vnf}/{one.port}" for one in found.values()} | several))
        raise UsageError(f"{typed} may mean {names}", hint="name one of them")
    return next(iter(found.items()))


def _address(typed: str, devices: Mapping[str, Device]) -> tuple[str, tuple[str, ...]]:
    """MAC and IP addresses of the one that is sent to."""
    try:
        ip = str(ipaddress.ip_address(typed))
    except ValueError:
        if typed.count(":") == 5:
            return typed, ()
        whose = _port(typed, devices)[1]
        return whose.mac, whose.addresses
    owners = [one for one in devices.values() if any(a.partition("/")[0] == ip for a in one.addresses)]
    return (owners[0].mac if len(owners) == 1 else ""), (ip,)


def _frame(sender: Device, target: tuple[str, tuple[str, ...]], asked: Mapping[str, Any]) -> dict[str, Any]:
    """A usual frame between the two, with what was asked for."""
    mac, addresses = target
    family = asked.get("eth_type", _IPV6 if addresses and all(":" in a for a in addresses) else _IPV4)
    fields: dict[str, Any] = {"eth_src": sender.mac, "eth_dst": mac, "eth_type": family}
    version = {_IPV4: "ipv4", _IPV6: "ipv6"}.get(family, "")
    for side, known in (("src", sender.addresses), ("dst", addresses)):
        own = [a.partition("/")[0] for a in known if (":" in a) == (family == _IPV6)]
        if version and own:
            fields[f"{version}_{side}"] = own[0]
    return {name: value for name, value in {**fields, **asked}.items() if value != ""}


def _segment(s: Session, endpoint: str, device: str) -> str:
    """Key of the link that the device is on."""
    from manor.api import SegmentSpec
    from manor.store import instances

    with s.runtime.store.read() as tx:
        states = [instances.desired(tx, ns.id) for ns in instances.all_of(tx)]
    for state in filter(None, states):
        for resource in state.resources:
            spec = resource.spec
            if resource.endpoint != f"sdn:{endpoint}" or not isinstance(spec, SegmentSpec):
                continue
            if any(port.device == device for port in spec.ports):
                return spec.key
    raise UsageError(f"the controller {endpoint} has no link with the port {device}", hint="manor sdn ports NAME")
