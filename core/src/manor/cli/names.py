"""Names and ids as people type them: a whole name, a whole id, or the start of an id that only one thing has."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from manor.errors import UsageError

__all__ = ["resolve"]

_SHOWN = 8


def resolve(typed: str, candidates: Iterable[tuple[str, str]], *, what: str, listing: str) -> str:
    """The id of the one candidate, of ``(id, name)`` pairs, that ``typed`` means.

    A name wins over an id, a whole id over a prefix. ``listing`` is the command that shows them all.
    Raises UsageError where nothing or more than one thing is meant; it names those that come near.
    """
    pairs = list(candidates)
    for chosen in (
        [pair for pair in pairs if typed and pair[1] == typed],
        [pair for pair in pairs if pair[0] == typed],
        [pair for pair in pairs if typed and pair[0].startswith(typed)],
    ):
        if len(chosen) == 1:
            return chosen[0][0]
        if chosen:
            shown = ", ".join(f"{id} ({name})" if name else id for id, name in sorted(chosen)[:_SHOWN])
            more = f" and {len(chosen) - _SHOWN} more" if len(chosen) > _SHOWN else ""
            raise UsageError(f"'{typed}' is more than one {what}: {shown}{more}", hint="give more of the id")
    near = difflib.get_close_matches(typed, [word for pair in pairs for word in pair if word], n=3)
    guess = f"did you mean {' or '.join(near)}? " if near else ""
    raise UsageError(f"no {what} is called '{typed}'", hint=f"{guess}see them: {listing}")
