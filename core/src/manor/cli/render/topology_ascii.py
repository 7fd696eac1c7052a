"""A service drawn with the characters that every terminal, mail and ticket has."""

from __future__ import annotations

from collections.abc import Sequence

from manor.cli.output import printable
from manor.cli.render.topology import Machine, link_label, machines, ordered_links
from manor.model.topology import ServiceTopology, TopologyChain, TopologyElement, TopologyLink

__all__ = ["topology_ascii"]

_GAP = 3


def topology_ascii(service: ServiceTopology, width: int = 100) -> str:
    """The picture, at most ``width`` characters wide where the names allow it; chains and addresses below it."""
    every, links = machines(service), ordered_links(service)
    head = "  ".join(filter(None, (service.name, service.id, service.state)))
    parts = [head]
    parts += [_band(band, links) for band in _bands(every, width)]
    parts += ["\n".join(_chain(service, chain)) for chain in service.chains]
    parts.append(_addresses(every, links))
    return "\n\n".join(filter(None, parts)) + "\n"


def _inside(machine: Machine) -> list[str]:
    vnfc = machine.vnfc
    place = f"@ {vnfc.host}" if vnfc.host else ""
    return [printable(line) for line in (machine.label, place, vnfc.state)]


def _width(machine: Machine) -> int:
    return max(*(len(line) + 4 for line in _inside(machine)), 4 * len(machine.vnfc.ports) + 3)


def _bands(every: Sequence[Machine], width: int) -> list[list[Machine]]:
    bands: list[list[Machine]] = []
    used = width
    for machine in every:
        used += _width(machine) + _GAP
        if used > width:
            bands.append([])
            used = _width(machine) + 2
        bands[-1].append(machine)
    return bands


def _band(band: Sequence[Machine], links: Sequence[TopologyLink]) -> str:
    total = sum(_width(machine) + _GAP for machine in band) - _GAP + 4
    rows = 5 + 2 * len(links)
    grid = [[" "] * total for _ in range(rows)]

    def put(row: int, column: int, text: str) -> None:
        grid[row][column : column + len(text)] = text

    row_of = {link.key: 6 + 2 * number for number, link in enumerate(links)}
    for link in links:
        put(row_of[link.key], 0, "=" * total)
    left = 2
    for machine in band:
        wide = _width(machine)
        put(0, left, "+" + "-" * (wide - 2) + "+")
        put(4, left, "+" + "-" * (wide - 2) + "+")
        for number, line in enumerate(_inside(machine), 1):
            put(number, left, "|" + line.center(wide - 2) + "|")
        ports = machine.vnfc.ports
        for number, port in enumerate(ports):
            column = left + (number + 1) * wide // (len(ports) + 1)
            put(4, column, "+")
            end = row_of.get(port.link)
            if end is None:
                continue
            for row in range(5, end):
                put(row, column, "|")
            put(end, column, "o")
        left += wide + _GAP
    lines = ["".join(row).rstrip() for row in grid]
    for link in links:
        lines[row_of[link.key]] += "  " + printable(link_label(link))
    return "\n".join(lines)


def _chain(service: ServiceTopology, chain: TopologyChain) -> list[str]:
    ports = service.ports()
    labels = {machine.vnfc.key: machine.label for machine in machines(service)}

    def name(key: str) -> str:
        if key not in ports:
            return key
        _, vnfc, port = ports[key]
        return f"{labels[vnfc.key]}:{port.name}"

    def through(element: TopologyElement) -> str:
        out = ports.get(element.egress)
        into = name(element.ingress)
        return into if out is None or element.egress == element.ingress else f"{into}>{out[2].name}"

    stops = [" or ".join(map(name, chain.sources)) or "(outside)"]
    stops += [f"[{number}] {' or '.join(map(through, hop.elements))}" for number, hop in enumerate(chain.hops, 1)]
    stops.append(" or ".join(map(name, chain.destinations)) or "(outside)")
    ways = "both ways" if chain.symmetric else "one way"
    head = "  ".join(filter(None, (f"chain {chain.name}", ways, chain.state)))
    match = f"  for {'; '.join(chain.match)}" if chain.match else "  for all traffic"
    return [printable(line) for line in (head, match, "  " + " --> ".join(stops))]


def _addresses(every: Sequence[Machine], links: Sequence[TopologyLink]) -> str:
    names = {link.key: link.name for link in links}
    rows = [
        (machine.label, port.name, names.get(port.link, ""), " ".join(port.addresses) or "-", port.mac, port.device)
        for machine in every
        for port in machine.vnfc.ports
    ]
    if not rows:
        return ""
    texts = [
        [printable(cell) for cell in row] for row in (("machine", "port", "link", "address", "mac", "device"), *rows)
    ]
    widths = [max(len(row[column]) for row in texts) for column in range(len(texts[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in texts)
