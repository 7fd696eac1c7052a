"""A service as Mermaid text, which GitHub and many wikis draw by themselves."""

from __future__ import annotations

from itertools import pairwise

from manor.cli.output import printable
from manor.cli.render.topology import chain_stops, link_label, machines, ordered_links
from manor.model.topology import ServiceTopology

__all__ = ["quoted", "topology_mermaid"]


def quoted(text: str) -> str:
    """Inside double quotes Mermaid takes entities for the characters that it would read."""
    safe = "".join(c if c.isalnum() or c in " .,:/@-_()" else f"#{ord(c)};" for c in printable(text))
    return f'"{safe}"'


def topology_mermaid(service: ServiceTopology) -> str:
    """A flowchart: hosts around machines, links as rounded nodes, chains as numbered thick arrows."""
    every, links = machines(service), ordered_links(service)
    node = {machine.vnfc.key: f"m{number}" for number, machine in enumerate(every)}
    link_node = {link.key: f"l{number}" for number, link in enumerate(links)}
    lines = ["flowchart TB"]
    hosts = dict.fromkeys(machine.vnfc.host for machine in every)
    for number, host in enumerate(hosts):
        if host:
            lines.append(f"  subgraph h{number}[{quoted(host)}]")
        lines += [
            f"    {node[m.vnfc.key]}[{quoted(f'{m.label} ({m.vnfc.state})' if m.vnfc.state else m.label)}]"
            for m in every
            if m.vnfc.host == host
        ]
        if host:
            lines.append("  end")
    lines += [f"  {link_node[link.key]}([{quoted(link_label(link))}])" for link in links]
    for machine in every:
        for port in machine.vnfc.ports:
            if port.link in link_node:
                words = " ".join((port.name, *port.addresses))
                lines.append(f"  {node[machine.vnfc.key]} ---|{quoted(words)}| {link_node[port.link]}")
    for chain in service.chains:
        stops = chain_stops(service, chain)
        for number, (here, there) in enumerate(pairwise(stops), 1):
            arrow = "<==>" if chain.symmetric else "==>"
            label = quoted(f"{chain.name} {number}")
            lines += [f"  {node[a]} {arrow}|{label}| {node[b]}" for a in here for b in there]
    return "\n".join(lines) + "\n"
