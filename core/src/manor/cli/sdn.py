"""``manor sdn``: the SDN controllers, which steer traffic between machines, and what their switches hold.

Switches know numbers; these views say which service, chain and VNF they stand for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from manor.cli.endpoints import endpoint_app, find_endpoint
from manor.cli.find import complete_ns, find_ns
from manor.cli.sdnports import devices_of
from manor.cli.sdntrace import trace
from manor.cli.session import Session, session
from manor.model.instance import EndpointKind

if TYPE_CHECKING:
    from manor.api import Observed, Topology

__all__ = ["app"]

app = endpoint_app(
    EndpointKind.SDN,
    "SDN controllers, which steer traffic: add, list, show, check, remove; their switches and rules; traces.",
)
_LOOK_S = 60.0

Name = Annotated[str, typer.Argument(metavar="NAME", help="The controller's name, or the start of it.")]
OnHost = Annotated[str, typer.Option("--host", help="Of this host's switch only.")]


def _driver(s: Session, name: str) -> Any:
    return s.runtime.sdn(find_endpoint(s, EndpointKind.SDN, name).name)


def _topology(s: Session, name: str, host: str = "") -> Topology:
    """Its switches as they are now. Raises UsageError where there is none on ``host``."""
    from manor.api import CallContext
    from manor.lcm.choosing import must_be_known

    found: Topology = _driver(s, name).topology(CallContext.within(_LOOK_S))
    if host:
        must_be_known(host, [switch.host for switch in found.switches], whose=f"controller {name}", what="switch on")
    return found


def _observed(s: Session, name: str, prefix: str = "") -> list[Observed]:
    from manor.api import CallContext, Query

    query = Query(owner=s.runtime.owner, prefix=prefix)
    return sorted(_driver(s, name).observe(query, CallContext.within(_LOOK_S)), key=lambda o: o.ref.key)


def _services(s: Session) -> dict[str, str]:
    """Names by id."""
    from manor.store import reading

    return {ns.id: ns.name for ns in reading.ns_instances(s.url, limit=100_000).items}


def _rules(seen: Observed) -> Iterator[Mapping[str, Any]]:
    return iter(seen.detail.get("rules", ()))


@app.command()
def switches(ctx: typer.Context, name: Name) -> None:
    """List a controller's switches, with how many ports, tunnels and rules of ours each has, how many rules are missing
    or altered now, and how many were and have been put right."""
    s = session(ctx)
    topology = _topology(s, name)
    rules: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    repaired: Counter[str] = Counter()
    for seen in _observed(s, name):
        for rule in _rules(seen):
            rules[str(rule.get("host", ""))] += 1
            wrong[str(rule.get("host", ""))] += rule.get("state", "active") != "active"
        for repair in seen.detail.get("repairs", ()):
            repaired[str(repair["host"])] += int(repair["rules"])
    devices = devices_of(s)
    found = [
        {
            "host": switch.host,
            "datapath_id": switch.datapath_id,
            "connected": switch.connected,
            "ports": sum(device in devices for device in switch.ports),
            "tunnels": sum(link.host == switch.host and link.device in switch.ports for link in topology.links),
            "rules": rules[switch.host],
            "wrong": wrong[switch.host],
            "repaired": repaired[switch.host],
        }
        for switch in topology.switches
    ]
    headers = ("host", "datapath", "connected", "machines' ports", "tunnels", "rules", "wrong", "put right")
    rows = [tuple("yes" if v is True else "no" if v is False else v for v in one.values()) for one in found]
    empty = "it has no switch yet"
    s.out.result(found, lambda: s.out.table(headers, rows, right=headers[3:], empty=empty))


@app.command()
def ports(ctx: typer.Context, name: Name, host: OnHost = "") -> None:
    """List the ports of a controller's switches, and whose they are."""
    s = session(ctx)
    topology, devices = _topology(s, name, host), devices_of(s)
    tunnels = {(link.host, link.device): link.peer for link in topology.links}
    found: list[dict[str, Any]] = []
    for switch in topology.switches:
        for device, number in sorted(switch.ports.items(), key=lambda item: item[1]):
            if host in ("", switch.host):
                peer = tunnels.get((switch.host, device), "")
                whose = devices.get(device)
                what = f"tunnel to {peer}" if peer else f"{whose.vnfc}/{whose.port}" if whose else "not ours"
                found.append(
                    {
                        "host": switch.host,
                        "number": number,
                        "device": device,
                        "service": whose.service if whose else "",
                        "what": what,
                        "mac": whose.mac if whose else "",
                        "addresses": whose.addresses if whose else (),
                    }
                )
    headers = ("host", "number", "device", "service", "what", "mac", "addresses")
    rows = [(*list(one.values())[:-1], ", ".join(one["addresses"])) for one in found]
    s.out.result(found, lambda: s.out.table(headers, rows, right=("number",), empty="no port"))


@app.command()
def flows(
    ctx: typer.Context,
    name: Name,
    host: OnHost = "",
    service: Annotated[
        str, typer.Option("--service", "-s", help="Of this service only.", autocompletion=complete_ns)
    ] = "",
) -> None:
    """List the rules that the switches hold for us, with what each is for and how many packets it met."""
    s = session(ctx)
    if host:
        _topology(s, name, host)
    names = _services(s)
    prefix = f"{find_ns(s, service).id}/" if service else ""
    found: list[dict[str, Any]] = []
    for seen in _observed(s, name, prefix):
        ns, _, rest = seen.ref.key.partition("/")
        for rule in _rules(seen):
            if host in ("", rule.get("host")):
                found.append(
                    {
                        "host": rule.get("host", ""),
                        "table": rule.get("table", ""),
                        "priority": rule.get("priority", ""),
                        "service": names.get(ns, ns),
                        "of": f"{seen.ref.kind} {rest.partition('/')[2] or rest}",
                        "note": rule.get("note", ""),
                        "packets": rule.get("packets", 0),
                        "state": rule.get("state", ""),
                        "match": rule.get("match", ""),
                        "actions": rule.get("actions", ""),
                    }
                )
    found.sort(key=lambda one: (one["host"], one["table"], -int(one["priority"] or 0)))
    headers = ("host", "table", "priority", "service", "of", "what for", "packets", "state")
    rows = [tuple(one.values())[:8] for one in found]
    right = ("table", "priority", "packets")
    s.out.result(found, lambda: s.out.table(headers, rows, right=right, empty="no rule of ours"))


@app.command()
def links(ctx: typer.Context, name: Name) -> None:
    """List the tunnels between a controller's switches: those that are there, and those that may be built."""
    s = session(ctx)
    topology = _topology(s, name)
    there = {switch.host: switch.ports for switch in topology.switches}
    found = [
        {
            "host": link.host,
            "peer": link.peer,
            "device": link.device,
            "state": "built" if link.device in there.get(link.host, ()) else "built when needed",
        }
        for link in topology.links
    ]
    empty = "no tunnel: give the hosts an underlay address, or place each service on one host"
    rows = [tuple(one.values()) for one in found]
    s.out.result(found, lambda: s.out.table(("host", "to", "device", "state"), rows, empty=empty))


app.command()(trace)
