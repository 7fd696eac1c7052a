"""A few strokes of SVG, as an element tree: names come from packages, so no XML is ever made by joining strings."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable

from manor.cli.output import printable

__all__ = ["INK", "MUTED", "PALETTE", "Drawing"]

INK, MUTED, PAPER = "#1f2933", "#7b8794", "#ffffff"
PALETTE = ("#2563eb", "#c2410c", "#0f766e", "#9333ea", "#b45309", "#be185d")
_FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"

Number = float | int


def _n(value: Number) -> str:
    return f"{value:.1f}".removesuffix(".0")


class Drawing:
    """A sheet of paper of a size in pixels."""

    def __init__(self, width: Number, height: Number, title: str) -> None:
        self._root = ET.Element(
            "svg",
            {
                "xmlns": "http://www.w3.org/2000/svg",
                "viewBox": f"0 0 {_n(width)} {_n(height)}",
                "width": _n(width),
                "height": _n(height),
                "font-family": _FONT,
                "role": "img",
            },
        )
        ET.SubElement(self._root, "title").text = printable(title)
        self._defs = ET.SubElement(self._root, "defs")
        self._arrows: set[str] = set()
        self.box(0, 0, width, height, fill=PAPER, radius=8)

    def box(
        self,
        x: Number,
        y: Number,
        width: Number,
        height: Number,
        *,
        fill: str,
        stroke: str = "none",
        radius: Number = 0,
    ) -> None:
        """A rectangle with rounded corners."""
        shape = {"x": _n(x), "y": _n(y), "width": _n(max(width, 0)), "height": _n(max(height, 0)), "fill": fill}
        ET.SubElement(self._root, "rect", {**shape, "stroke": stroke, "stroke-width": "1.5", "rx": _n(radius)})

    def circle(self, x: Number, y: Number, radius: Number, *, fill: str) -> None:
        """A disc."""
        ET.SubElement(self._root, "circle", {"cx": _n(x), "cy": _n(y), "r": _n(radius), "fill": fill})

    def line(
        self,
        points: Iterable[tuple[Number, Number]],
        *,
        stroke: str,
        width: Number = 1.5,
        dash: str = "",
        arrow: bool = False,
        both: bool = False,
    ) -> None:
        """A line through points, with an arrow head at its end or at both."""
        attributes = {
            "points": " ".join(f"{_n(x)},{_n(y)}" for x, y in points),
            "fill": "none",
            "stroke": stroke,
            "stroke-width": _n(width),
            "stroke-linejoin": "round",
        }
        if dash:
            attributes["stroke-dasharray"] = dash
        if arrow or both:
            attributes["marker-end"] = f"url(#{self._arrow(stroke)})"
        if both:
            attributes["marker-start"] = f"url(#{self._arrow(stroke)})"
        ET.SubElement(self._root, "polyline", attributes)

    def text(
        self,
        x: Number,
        y: Number,
        words: str,
        *,
        size: Number = 12,
        fill: str = INK,
        anchor: str = "start",
        weight: str = "normal",
        turn: Number = 0,
        halo: bool = False,
    ) -> None:
        """Words at a baseline; ``anchor`` is start, middle or end, ``turn`` degrees clockwise.

        ``halo`` keeps lines that run behind the words off them.
        """
        attributes = {"x": _n(x), "y": _n(y), "font-size": _n(size), "fill": fill, "text-anchor": anchor}
        if weight != "normal":
            attributes["font-weight"] = weight
        if turn:
            attributes["transform"] = f"rotate({_n(turn)} {_n(x)} {_n(y)})"
        if halo:
            attributes |= {"stroke": PAPER, "stroke-width": "3", "paint-order": "stroke"}
        ET.SubElement(self._root, "text", attributes).text = printable(words)

    def _arrow(self, colour: str) -> str:
        name = "arrow-" + colour.lstrip("#")
        if name not in self._arrows:
            self._arrows.add(name)
            marker = {
                "id": name,
                "viewBox": "0 0 10 10",
                "refX": "9",
                "refY": "5",
                "markerWidth": "9",
                "markerHeight": "9",
                "markerUnits": "userSpaceOnUse",
                "orient": "auto-start-reverse",
            }
            head = ET.SubElement(self._defs, "marker", marker)
            ET.SubElement(head, "path", {"d": "M 0 0 L 10 5 L 0 10 z", "fill": colour})
        return name

    def to_xml(self) -> str:
        """The document."""
        ET.indent(self._root)
        return ET.tostring(self._root, encoding="unicode").encode("utf-8", "replace").decode() + "\n"
