"""A chain as Mermaid text: hosts around machines, one arrow a hop with its rules."""

from __future__ import annotations

import itertools

from manor.cli.render.chain_picture import ChainPicture, leg_words
from manor.cli.render.topology_mermaid import quoted

__all__ = ["chain_mermaid"]


def chain_mermaid(chain: ChainPicture) -> str:
    """A flowchart from left to right."""
    lines = ["flowchart LR"]
    nodes: list[list[str]] = []
    by_host: dict[str, list[str]] = {}
    for number, stop in enumerate(chain.stops):
        nodes.append([])
        for place, stand in enumerate(stop.stands):
            node = f"s{number}x{place}"
            nodes[-1].append(node)
            title = f"{stop.number} {stand.name}" if stop.number else stand.name
            state = f" ({stand.state})" if stand.state not in ("", "active") else ""
            by_host.setdefault(stand.host, []).append(f"{node}[{quoted(title + state)}]")
    for number, (host, inside) in enumerate(by_host.items()):
        lines += [f"  subgraph h{number}[{quoted(host)}]"] if host else []
        lines += [f"    {node}" for node in inside] + (["  end"] if host else [])
    wrong: list[str] = []
    drawn = itertools.count()
    for number, (here, following) in enumerate(itertools.pairwise(nodes)):
        legs = [leg for way in ("there", "back") if (leg := chain.leg(way, number))]
        words = quoted(" / ".join(f"{leg.way} {leg_words(leg)}" for leg in legs) or f"{number + 1}")
        arrow = "<==>" if chain.symmetric else "==>"
        for one, other in itertools.product(here, following):
            lines.append(f"  {one} {arrow}{f'|{words}|' if one == here[0] and other == following[0] else ''} {other}")
            link = next(drawn)
            wrong += [str(link)] if any(leg.wrong for leg in legs) else []
    lines += [f"  linkStyle {','.join(wrong)} stroke:#dc2626"] if wrong else []
    return "\n".join(lines) + "\n"
