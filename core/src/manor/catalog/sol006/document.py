"""The document around SOL006 descriptors: which roots there are, and names without their YANG module prefix."""

from __future__ import annotations

from manor.catalog.nodes import Kind, Node
from manor.catalog.reading import Reading, Source

__all__ = ["QUIET", "descriptors", "is_sol006", "known"]

QUIET = ("description", "name", "short-name", "logo", "vendor")
"""Keys for people, kept without a word."""
_ROOTS = ("vnfd", "nsd")


def _bare(key: str) -> str:
    return key.rpartition(":")[2]


def is_sol006(root: Node) -> bool:
    """Whether a document is one, by its root keys."""
    return root.kind is Kind.MAP and any(
        _bare(key) in (*_ROOTS, "nfv", "vnfd-catalog", "nsd-catalog") and value.kind is not Kind.SCALAR
        for key, value in root.fields.items()
    )


def _without_prefixes(root: Node) -> None:
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        waiting += [*node.items, *node.fields.values()]
        if any(":" in key for key in node.fields):
            # Of two spellings of a key the first one stays.
            node.places = {_bare(key): place for key, place in reversed(node.places.items())}
            node.fields = {_bare(key): value for key, value in reversed(node.fields.items())}


def descriptors(root: Node, source: Source) -> list[tuple[str, Reading]]:
    """(``vnfd`` or ``nsd``, descriptor) for each descriptor in the document."""
    _without_prefixes(root)
    reading = Reading(root, source)
    if reading.has("nfv"):
        reading = reading.get("nfv")
    found = []
    for kind in _ROOTS:
        for catalog in (f"{kind}-catalog", kind):
            outer = reading.get(catalog) if reading.is_map else reading
            if not reading.is_map or not outer:
                continue
            # OSM's ``nsd: nsd: -``, and RIFT's catalogues before it.
            if outer.is_map and (outer.has(kind) and not outer.get(kind).is_text):
                outer = outer.get(kind)
            if catalog.endswith("-catalog"):
                outer.error("model-old", f"{catalog} is OSM's model before release 9, which is not SOL006")
                return [(kind, Reading(None, source, at=outer.node))]
            found += [(kind, item) for item in outer.each()]
    return found


def known(items: Reading, what: str) -> dict[str, Reading]:
    """A YANG list by its ``id``; an id that is missing or given twice is an ERROR."""
    found: dict[str, Reading] = {}
    for item in items.each():
        if not item.is_map:
            item.wrong(f"a {what} with an id")
            continue
        name = item.get("id").text()
        if not name:
            item.error("id-missing", f"a {what} has no id")
        elif name in found:
            item.error("id-duplicate", f"{what} {name[:80]} is there twice")
        else:
            found[name] = item
    return found
