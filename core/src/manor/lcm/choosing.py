"""What an operator names has to be there. Where it is not, the answer says what there is. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

from manor.errors import UsageError

__all__ = ["chosen", "must_be_known"]


class _Element(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_Element)


def chosen(elements: Iterable[T], wanted: str, *, whose: str, what: str) -> T:
    """The element of this id. Raises UsageError, naming all of them, where there is none."""
    known = {element.id: element for element in elements}
    must_be_known(wanted, known, whose=whose, what=what)
    return known[wanted]


def must_be_known(wanted: str, known: Iterable[str], *, whose: str, what: str) -> None:
    """Raise UsageError, naming all that are ``known``, where ``wanted`` is none of them."""
    names = list(known)
    if wanted not in names:
        raise UsageError(f"{whose} has no {what} {wanted}", hint=f"it has: {', '.join(names) or 'none'}")
