"""A chain as a picture: ends and positions from left to right, hosts by colour, rules and packets on the arrows."""

from __future__ import annotations

from collections.abc import Mapping

from manor.cli.render.chain_picture import ChainPicture, Leg, Stand, Stop, leg_words
from manor.cli.render.svg import INK, MUTED, PALETTE, Drawing
from manor.cli.render.topology_svg import STATES

__all__ = ["chain_svg"]

_MARGIN, _TOP, _BOX, _BOX_GAP, _LEGEND = 28, 118, 84, 18, 26
_EDGE, _PAPER, _BAD = "#9aa5b1", "#f5f7fa", "#dc2626"
_WAYS: Mapping[str, str] = {"there": "#2563eb", "back": "#0f766e"}


def chain_svg(chain: ChainPicture) -> str:
    """The picture as an SVG document."""
    hosts = list(dict.fromkeys(stand.host for stop in chain.stops for stand in stop.stands if stand.host))
    colours = {host: PALETTE[number % len(PALETTE)] for number, host in enumerate(hosts)}
    tall = max((len(stop.stands) for stop in chain.stops), default=1)
    height = tall * (_BOX + _BOX_GAP) - _BOX_GAP
    wide = [_width(stop) for stop in chain.stops]
    gaps = [_gap(chain, number) for number in range(len(chain.stops) - 1)]
    right = _MARGIN + sum(wide) + sum(gaps) + _MARGIN
    title = f"{chain.service}/{chain.name}"
    match = "; ".join(chain.match) or "all traffic"
    width = max(right, 2 * _MARGIN + 7 * len(match) + 120, 420)
    sheet = Drawing(width, _TOP + height + _LEGEND + _MARGIN + 18, f"Chain {title}")
    sheet.text(_MARGIN, 34, title, size=18, weight="600")
    ways = "both ways" if chain.symmetric else "one way"
    sheet.text(_MARGIN, 54, f"{match} · {ways}", size=12, fill=MUTED)
    if chain.state:
        colour = STATES.get(chain.state, MUTED)
        sheet.circle(_MARGIN + 5, 70.5, 4, fill=colour)
        foreign = f", {chain.foreign} foreign rules under its cookie" if chain.foreign else ""
        sheet.text(_MARGIN + 16, 74.5, f"{chain.state}{foreign}", size=12, fill=colour)
    x: float = _MARGIN
    for number, stop in enumerate(chain.stops):
        _stop(sheet, stop, x, wide[number], height, colours)
        x += wide[number]
        if number < len(gaps):
            _between(sheet, chain, number, x, gaps[number], _TOP + height / 2)
            x += gaps[number]
    left: float = _MARGIN
    y = _TOP + height + _LEGEND + 12
    for host in hosts:
        sheet.box(left, y - 10, 12, 12, fill=colours[host], radius=2)
        sheet.text(left + 18, y, host, size=12)
        left += 18 + 7.5 * len(host) + 24
    return sheet.to_xml()


def _width(stop: Stop) -> float:
    texts = [7.8 * len(stand.name) + 12 for stand in stop.stands] + [6.4 * len(stand.ports) for stand in stop.stands]
    texts += [6.6 * (len(stand.host) + len(stand.state) + 3) for stand in stop.stands]
    return max(112.0, 7.0 * (len(stop.name) + 4), *(text + 30 for text in texts))


def _gap(chain: ChainPicture, number: int) -> float:
    legs = [leg for way in _WAYS if (leg := chain.leg(way, number))]
    return max([70.0, *(5.6 * max(map(len, _lines(leg))) + 30 for leg in legs)])


def _lines(leg: Leg) -> list[str]:
    return leg_words(leg).split(", ")


def _stop(sheet: Drawing, stop: Stop, x: float, wide: float, height: float, colours: Mapping[str, str]) -> None:
    title = f"{stop.number} · {stop.name}" if stop.number else stop.name
    sheet.text(x + wide / 2, _TOP - 12, title, size=12, fill=MUTED, anchor="middle")
    own = len(stop.stands) * (_BOX + _BOX_GAP) - _BOX_GAP
    y = _TOP + (height - own) / 2
    if len(stop.stands) > 1:
        sheet.box(x - 6, y - 6, wide + 12, own + 12, fill="none", stroke=_EDGE, radius=12)
    for stand in stop.stands:
        _stand(sheet, stand, x, y, wide, colours.get(stand.host, _EDGE))
        y += _BOX + _BOX_GAP


def _stand(sheet: Drawing, stand: Stand, x: float, y: float, wide: float, colour: str) -> None:
    middle = x + wide / 2
    sheet.box(x, y, wide, _BOX, fill=_PAPER, stroke=_EDGE, radius=8)
    sheet.box(x + 8, y + 7, wide - 16, 4, fill=colour, radius=2)
    sheet.text(middle, y + 32, stand.name, size=14, weight="600", anchor="middle")
    sheet.text(middle, y + 51, stand.host or "outside of Manor", size=11, fill=MUTED, anchor="middle")
    good = stand.state in ("", "active")
    words = stand.ports if good else f"{stand.ports}  {stand.state}".strip()
    sheet.text(middle, y + 69, words, size=11, fill=INK if good else STATES.get(stand.state, _BAD), anchor="middle")


def _between(sheet: Drawing, chain: ChainPicture, number: int, x: float, gap: float, y: float) -> None:
    for way, colour in _WAYS.items():
        if way == "back" and not chain.symmetric:
            continue
        leg = chain.leg(way, number)
        stroke = _BAD if leg is not None and leg.wrong else colour
        offset = 0.0 if not chain.symmetric else -9.0 if way == "there" else 9.0
        ends = [(x + 10, y + offset), (x + gap - 10, y + offset)]
        sheet.line(ends if way == "there" else ends[::-1], stroke=stroke, width=3, arrow=True)
        lines = _lines(leg) if leg is not None else []
        for row, words in enumerate(lines):
            at = y + offset - 10 - 13 * (len(lines) - 1 - row) if way == "there" else y + offset + 19 + 13 * row
            sheet.text(x + gap / 2, at, words, size=10, fill=stroke, anchor="middle")
