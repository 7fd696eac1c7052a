"""A chain from top to bottom with the characters that every terminal, mail and ticket has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from manor.cli.output import printable
from manor.cli.render.chain_picture import ChainPicture, Stand, Stop, leg_words

__all__ = ["chain_ascii"]

_INDENT = 5
_WAYS = ("there: ", "back:  ")


def chain_ascii(chain: ChainPicture, width: int = 80) -> str:
    """The picture, at most ``width`` characters wide where the names allow it."""
    head = ("both ways" if chain.symmetric else "one way", chain.state)
    lines = [printable(f"chain {chain.service}/{chain.name}: {', '.join(filter(None, head))}")]
    lines.append(printable(f"for {'; '.join(chain.match) or 'all traffic'}")[:width])
    if chain.foreign:
        lines.append(f"{chain.foreign} foreign rules under its cookie: manor ns drift {printable(chain.service)}")
    lines.append("")
    for number, stop in enumerate(chain.stops):
        lines += _stop(stop, width)
        if number + 1 < len(chain.stops):
            lines += _between(chain, number, width)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _stop(stop: Stop, width: int) -> Iterator[str]:
    if stop.number or len(stop.stands) > 1:
        several = f" (shared by {len(stop.stands)})" if len(stop.stands) > 1 else ""
        yield printable(f"{f'{stop.number}.' if stop.number else stop.name:<{_INDENT}}{stop.name}{several}")[:width]
    for row in _rows(stop.stands, width - _INDENT):
        boxes = [_box(stand) for stand in row]
        for line in range(len(boxes[0])):
            start = stop.name if line == 1 and not stop.number and len(stop.stands) == 1 else ""
            yield f"{start[:_INDENT]:<{_INDENT}}" + "  ".join(box[line] for box in boxes)


def _box(stand: Stand) -> list[str]:
    texts = [
        printable(stand.name),
        printable(" ".join(filter(None, (f"@ {stand.host}" if stand.host else "", stand.state.replace("active", ""))))),
        printable(stand.ports),
    ]
    wide = max(map(len, texts)) + 2
    edge = f"+{'-' * wide}+"
    return [edge, *(f"|{text.center(wide)}|" for text in texts), edge]


def _rows(stands: Sequence[Stand], width: int) -> Iterator[list[Stand]]:
    row: list[Stand] = []
    used = 0
    for stand in stands:
        wide = len(_box(stand)[0]) + 2
        if row and used + wide > width:
            yield row
            row, used = [], 0
        row.append(stand)
        used += wide
    yield row


def _between(chain: ChainPicture, number: int, width: int) -> Iterator[str]:
    lead = " " * (_INDENT + 3)
    there, back = (f"{way}{leg_words(leg)}" if (leg := chain.leg(way.strip(" :"), number)) else "" for way in _WAYS)
    up = ("  ^", "  |") if chain.symmetric else ("", "")
    yield from (printable(line)[:width] for line in (f"{lead}|{up[0]}  {there}", f"{lead}v{up[1]}  {back}"))
