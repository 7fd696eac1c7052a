"""What a descriptor carries and no reader asked for: kept, and named once, so that nothing is dropped in silence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from manor.catalog.nodes import Node
from manor.catalog.reading import Source, plain, unread
from manor.catalog.report import did_you_mean

__all__ = ["leftovers"]

_LOOKS_ALIKE = 0.85


def leftovers(roots: Iterable[tuple[Source, Node]], quiet: Iterable[str] = ()) -> Mapping[str, Any]:
    """Everything unread below these roots by its place, after one INFO finding a kind of thing.

    A key close to one that was looked for beside it is most likely misspelt: that is a WARNING. ``quiet`` keys are
    kept and not spoken of.
    """
    kept: dict[str, Any] = {}
    silent = frozenset(quiet)
    seen: dict[str, list[tuple[Source, int, int, str]]] = {}
    roots = list(roots)
    for source, root in roots:
        for path, parent, value, key in unread(root):
            kept[f"{source.file}#{path}" if len(roots) > 1 else path] = plain(value)
            line, column = parent.places.get(key, (value.line, value.column))
            wanted = parent.asked - parent.fields.keys()
            hint = did_you_mean(key, wanted, cutoff=_LOOKS_ALIKE) if wanted and not source.report.is_full else ""
            if hint.startswith("did you mean"):
                source.report.warning(
                    "key-unknown",
                    f"{key[:80]} is not a known key here",
                    file=source.file,
                    line=line,
                    column=column,
                    hint=hint,
                )
            elif key not in silent:
                seen.setdefault(key, []).append((source, line, column, path))
    for places in seen.values():
        source, line, column, path = places[0]
        times = f" ({len(places)} times)" if len(places) > 1 else ""
        where = "/".join(path.split("/")[-3:])
        message = f"{where[-120:]}{times} is kept and not acted on"
        source.report.info("unhandled", message, file=source.file, line=line, column=column)
    return kept
