"""A service as a picture: machines in a row, links as bars below them, chains as coloured arrows through them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from manor.cli.render.svg import INK, MUTED, PALETTE, Drawing
from manor.cli.render.topology import Machine, chain_stops, link_label, machines, ordered_links
from manor.model.topology import ServiceTopology, TopologyChain

__all__ = ["STATES", "topology_svg"]

_MARGIN, _GAP, _TOP = 28, 40, 70
_BOX_TEXT, _LANE, _DROP, _BAR, _BAR_GAP, _LEGEND = 68, 30, 62, 25, 18, 26
_BOX_FILL, _BOX_EDGE = "#f5f7fa", "#9aa5b1"
_BAR_FILLS = ("#dbeafe", "#e4e7eb", "#dcfce7", "#fef3c7", "#fae8ff")
STATES: Mapping[str, str] = {
    "active": "#15803d",
    "pending": "#2563eb",
    "stopped": "#7b8794",
    "degraded": "#d97706",
    "error": "#dc2626",
    "absent": "#dc2626",
    "unknown": "#d97706",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Box:
    machine: Machine
    x: float
    width: float
    slot: float
    """Width that each port has to itself."""

    def port_x(self, number: int) -> float:
        return self.x + (self.width - self.slot * len(self.machine.vnfc.ports)) / 2 + self.slot * number + 10


def topology_svg(service: ServiceTopology) -> str:
    """The picture as an SVG document."""
    boxes = _place(machines(service))
    links = ordered_links(service)
    chains = service.chains
    height_of_box = _BOX_TEXT + _LANE * len(chains)
    bars_at = _TOP + height_of_box + _DROP
    bar_of = {link.key: bars_at + (_BAR + _BAR_GAP) * number for number, link in enumerate(links)}
    bottom = bars_at + (_BAR + _BAR_GAP) * len(links)
    right = max((box.x + box.width for box in boxes.values()), default=300) + _MARGIN
    legend = [_legend(chain) for chain in chains]
    width = max(right, 2 * _MARGIN + 40 + 7 * max((len(words) for words in legend), default=0), 360)
    sheet = Drawing(width, bottom + _LEGEND * len(chains) + _MARGIN, f"Topology of {service.name}")

    sheet.text(_MARGIN, 34, service.name, size=18, weight="600")
    sheet.text(_MARGIN, 52, " · ".join(filter(None, (service.id, service.nsd_id, service.state))), size=11, fill=MUTED)
    for number, chain in enumerate(chains):
        _path(sheet, service, chain, boxes, _lane_y(number), PALETTE[number % len(PALETTE)], inside=False)
    for box in boxes.values():
        _drops(sheet, box, bar_of, height_of_box)
        _box(sheet, box, height_of_box)
    for number, chain in enumerate(chains):
        _path(sheet, service, chain, boxes, _lane_y(number), PALETTE[number % len(PALETTE)], inside=True)
    for number, link in enumerate(links):
        y = bar_of[link.key]
        sheet.box(_MARGIN, y, width - 2 * _MARGIN, _BAR, fill=_BAR_FILLS[number % len(_BAR_FILLS)], radius=6)
        sheet.text(_MARGIN + 10, y + 17, link_label(link, " · "), size=11, weight="600")
        if link.sdn:
            sheet.text(width - _MARGIN - 10, y + 17, f"sdn {link.sdn}", size=10, fill=MUTED, anchor="end")
    for box in boxes.values():
        for number, port in enumerate(box.machine.vnfc.ports):
            if port.link in bar_of:
                sheet.circle(box.port_x(number), bar_of[port.link] + 1, 3.5, fill=INK)
    for number, words in enumerate(legend):
        y = bottom + _LEGEND * number + 14
        colour = PALETTE[number % len(PALETTE)]
        sheet.line([(_MARGIN, y), (_MARGIN + 30, y)], stroke=colour, width=3, arrow=True, both=chains[number].symmetric)
        sheet.text(_MARGIN + 40, y + 4, words, size=12)
    return sheet.to_xml()


def _place(every: Sequence[Machine]) -> dict[str, _Box]:
    boxes: dict[str, _Box] = {}
    x: float = _MARGIN
    for machine in every:
        vnfc = machine.vnfc
        labels = [text for port in vnfc.ports for text in (port.name, *port.addresses)]
        slot = max(48.0, 6.2 * max(map(len, labels), default=0) + 16)
        words = max(8.6 * len(machine.label), 6.4 * (len(vnfc.host) + len(vnfc.vim) + 4)) + 40
        width = max(132.0, words, slot * len(vnfc.ports) + 12)
        boxes[vnfc.key] = _Box(machine=machine, x=x, width=width, slot=slot)
        x += width + _GAP
    return boxes


def _lane_y(number: int) -> float:
    return _TOP + _BOX_TEXT + _LANE * number + 6


def _box(sheet: Drawing, box: _Box, height: float) -> None:
    vnfc = box.machine.vnfc
    middle = box.x + box.width / 2
    sheet.box(box.x, _TOP, box.width, height, fill=_BOX_FILL, stroke=_BOX_EDGE, radius=8)
    sheet.text(middle, _TOP + 22, box.machine.label, size=14, weight="600", anchor="middle")
    place = f"{vnfc.host} on {vnfc.vim}" if vnfc.host and vnfc.vim else vnfc.host or vnfc.vim
    sheet.text(middle, _TOP + 39, place, size=11, fill=MUTED, anchor="middle")
    if vnfc.state:
        colour = STATES.get(vnfc.state, MUTED)
        half = 3.0 * len(vnfc.state)
        sheet.circle(middle - half - 8, _TOP + 51.5, 4, fill=colour)
        sheet.text(middle + 3, _TOP + 55.5, vnfc.state, size=11, fill=colour, anchor="middle")


def _drops(sheet: Drawing, box: _Box, bar_of: Mapping[str, float], height: float) -> None:
    bottom = _TOP + height
    for number, port in enumerate(box.machine.vnfc.ports):
        x = box.port_x(number)
        if port.link in bar_of:
            sheet.line([(x, bottom), (x, bar_of[port.link] + 4)], stroke=_BOX_EDGE)
        sheet.box(x - 4, bottom - 4, 8, 10, fill=INK, radius=2)
        sheet.text(x + 7, bottom + 19, port.name, size=11)
        for row, address in enumerate(port.addresses[:2]):
            sheet.text(x + 7, bottom + 33 + 13 * row, address.partition("/")[0], size=10, fill=MUTED)


def _path(
    sheet: Drawing,
    service: ServiceTopology,
    chain: TopologyChain,
    boxes: Mapping[str, _Box],
    y: float,
    colour: str,
    *,
    inside: bool,
) -> None:
    """The chain's line: drawn whole behind the boxes, and again inside those that it really passes."""
    stops = [[boxes[key] for key in stop] for stop in chain_stops(service, chain)]
    way = [box for stop in stops for box in stop]
    if len(way) < 2:
        return
    first, last = way[0], way[-1]
    start = first.x + first.width / 2
    end = last.x + last.width / 2
    if not inside:
        previous = start
        for box in way[1:]:
            x = box.x + box.width / 2
            sheet.line([(previous, y), (x, y)], stroke=colour, width=3)
            previous = x
        return
    for position, stop in enumerate(stops):
        for box in stop:
            middle = box.x + box.width / 2
            if 0 < position < len(stops) - 1:
                sheet.line([(box.x, y), (box.x + box.width, y)], stroke=colour, width=3)
                sheet.circle(middle, y, 10, fill=colour)
                sheet.text(middle, y + 4, str(position), size=12, fill="#ffffff", anchor="middle", weight="700")
    going_right = end >= start
    out = first.x + first.width if going_right else first.x
    into = last.x if going_right else last.x + last.width
    sheet.line([(start, y), (out, y)], stroke=colour, width=3)
    sheet.line([(into, y), (end, y)], stroke=colour, width=3, arrow=True)
    if chain.symmetric:
        sheet.line([(out, y), (start, y)], stroke=colour, width=3, arrow=True)
    else:
        sheet.circle(start, y, 5, fill=colour)


def _legend(chain: TopologyChain) -> str:
    match = "; ".join(chain.match) or "all traffic"
    ways = "both ways" if chain.symmetric else "one way"
    state = "" if chain.state in ("", "active") else f"  {chain.state.upper()}"
    return f"{chain.name}: {match}, {ways}{state}"
