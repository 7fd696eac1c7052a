"""A cursor over a document: asks for what it wants, and reports instead of raising.

A reader of descriptors is then one short line a field. Whatever is absent or of a wrong type reads as the default,
with a finding at its line where it matters. The cursor remembers what was asked for, so what a descriptor carries
and nobody read can be named at the end (:func:`unread`), and a misspelt key told from an unknown one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from manor.api.records import Finding, Severity
from manor.catalog.nodes import Kind, Node, scalar
from manor.catalog.report import Report, did_you_mean

__all__ = ["Reading", "Source", "plain", "unread"]

_INTEGER = re.compile(r"[+-]?\d{1,18}(?:\.0*)?")
_NUMBER = re.compile(r"[+-]?(?:\d{1,18}(?:\.\d{0,18})?|\.\d{1,18})(?:[eE][+-]?\d{1,2})?")
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_ABSENT = Node(Kind.SCALAR, 0, 0, tag="null")


@dataclass(slots=True)
class Source:
    """One file being read: where findings go, and how functions in it (``get_input``) become values."""

    file: str
    report: Report
    resolve: Callable[[Node], Node] | None = None


class Reading:
    """A place in a document, there or absent. Falsy where nothing is."""

    __slots__ = ("_at", "_fallback", "_node", "name", "source")

    def __init__(
        self,
        node: Node | None,
        source: Source,
        *,
        at: Node | None = None,
        name: str = "",
        fallback: Reading | None = None,
    ) -> None:
        if node is not None and source.resolve is not None and node.kind is Kind.MAP and len(node.fields) == 1:
            node = source.resolve(node)
        self._node = _ABSENT if node is None or node.is_null else node
        self._at = self._node if self._node is not _ABSENT else (node or at or _ABSENT)
        self._fallback = fallback
        self.name = name
        self.source = source

    def __bool__(self) -> bool:
        return self._node is not _ABSENT or bool(self._fallback)

    # what it is -----------------------------------------------------------------------------------------------

    @property
    def node(self) -> Node:
        """The node itself; a null one where nothing is."""
        return self._node

    @property
    def is_map(self) -> bool:
        """A map with something in it, or with a fallback that is."""
        return self._node.kind is Kind.MAP or (self._fallback is not None and self._fallback.is_map)

    @property
    def is_list(self) -> bool:
        """A list."""
        return self._node.kind is Kind.LIST

    @property
    def is_text(self) -> bool:
        """A scalar that is not null."""
        return self._node.kind is Kind.SCALAR and self._node is not _ABSENT

    @property
    def is_open(self) -> bool:
        """A function that has no value yet, as ``get_input`` of an input that is given at instantiation."""
        return (
            self._node.kind is Kind.MAP
            and len(self._node.fields) == 1
            and next(iter(self._node.fields)).startswith(("get_", "concat", "token"))
        )

    # where to go ----------------------------------------------------------------------------------------------

    def get(self, *names: str) -> Reading:
        """The value of the first of these keys that is there; names after the first are older spellings."""
        if self._node.kind is Kind.MAP:
            self._node.asked.update(names)
            for name in names:
                found = self._node.fields.get(name)
                if found is not None and not found.is_null:
                    inner = self._fallback.get(*names) if self._fallback is not None else None
                    return Reading(found, self.source, at=self._node, name=name, fallback=inner)
        elif self._node is not _ABSENT and not (self._node.kind is Kind.LIST and not self._node.items):
            self.wrong("a map")
        if self._fallback is not None:
            return self._fallback.get(*names)
        return Reading(None, self.source, at=self._at, name=names[0])

    def peek(self, name: str) -> Node | None:
        """A value without taking note that it was asked for; None where it is not there."""
        found = self._node.fields.get(name)
        if (found is None or found.is_null) and self._fallback is not None:
            return self._fallback.peek(name)
        return found

    def path(self, *names: str) -> Reading:
        """A value several maps down."""
        here = self
        for name in names:
            here = here.get(name)
        return here

    def over(self, fallback: Reading) -> Reading:
        """This place, with another one read where it is silent."""
        return Reading(self._node, self.source, at=self._at, name=self.name, fallback=fallback)

    def has(self, name: str) -> bool:
        """Whether a key is there and not null."""
        return bool(self.get(name)) if self.is_map else False

    def keys(self) -> list[str]:
        """The keys of a map."""
        own = list(self._node.fields) if self._node.kind is Kind.MAP else []
        return own + [key for key in (self._fallback.keys() if self._fallback else []) if key not in own]

    def entries(self) -> Iterator[tuple[str, Reading]]:
        """Keys and values of a map; anything else has none, and says so."""
        if self._node.kind is Kind.MAP or self._fallback is not None:
            for key in self.keys():
                yield key, self.get(key)
        elif self._node is not _ABSENT and not (self.is_list and not self._node.items):
            self.wrong("a map")

    def each(self) -> Iterator[Reading]:
        """The values of a list; a single value counts as a list of one, as YANG's XML heritage has it."""
        if self._node.kind is Kind.LIST:
            for node in self._node.items:
                yield Reading(node, self.source, at=self._node, name=self.name)
        elif self:
            yield self

    def named(self) -> Iterator[tuple[str, Reading]]:
        """Entries of a map, or of a list of maps with one key each: TOSCA has both for requirements and policies."""
        if self._node.kind is Kind.LIST:
            for item in self.each():
                if item.is_map:
                    yield from item.entries()
                elif item:
                    item.wrong("a map with a name")
        else:
            yield from self.entries()

    # what is there --------------------------------------------------------------------------------------------

    def text(self, default: str = "") -> str:
        """A scalar as it was written."""
        if self.is_text:
            return self._node.text
        if self._node is _ABSENT:
            return self._fallback.text(default) if self._fallback else default
        if not self.is_open:
            self.wrong("text")
        return default

    def note(self) -> str:
        """Text for people, whatever its type; never a finding."""
        return self.text() if self.is_text or not self else ("" if self.is_open else str(plain(self._node))[:500])

    def identity(self) -> str:
        """A YANG identity or enumeration without its module prefix."""
        return self.text().rpartition(":")[2].strip()

    def whole(self, default: int = 0, *, least: int = 0, most: int = 1 << 40) -> int:
        """A whole number; ``"1"`` and ``1.0`` are ones too."""
        written = self.text().strip()
        if not written:
            return default
        if not _INTEGER.fullmatch(written):
            self.wrong("a whole number")
            return default
        number = int(written.partition(".")[0])
        if not least <= number <= most:
            self.error("value-range", f"{self._label()}: {written} is not within {least} to {most}")
            return default
        return number

    def number(self, default: float = 0.0) -> float:
        """A number that is not negative."""
        written = self.text().strip()
        if not written:
            return default
        if not _NUMBER.fullmatch(written) or float(written) < 0:
            self.wrong("a number")
            return default
        return float(written)

    def flag(self, default: bool = False) -> bool:
        """True or false."""
        written = self.text().strip().lower()
        if written in _TRUE or written in _FALSE:
            return written in _TRUE
        if written:
            self.wrong("true or false")
        return default

    def texts(self) -> tuple[str, ...]:
        """A list of scalars; a single one counts as a list of one."""
        return tuple(text for item in self.each() if (text := item.text()))

    def choice(self, allowed: Iterable[str], default: str = "") -> str:
        """One of these values, in lower case with ``_`` for ``-``."""
        written = self.identity().lower().replace("-", "_")
        known = list(allowed)
        if not written or written in known:
            return written or default
        self.warning(
            "value-unknown", f"{self._label()}: {written[:60]} is not a known value", did_you_mean(written, known)
        )
        return default

    def one_of(self, known: Collection[str], what: str, *, soft: bool = False) -> str:
        """The name of something that has to exist; empty, with an ERROR, where it does not.

        ``soft`` makes it a WARNING: what refers to it can be left out, and the rest is deployed as meant.
        """
        wanted = self.text()
        if not wanted or wanted in known:
            return wanted
        say = self.warning if soft else self.error
        hint = did_you_mean(wanted, known) if not self.source.report.is_full else ""
        say("reference-dangling", f"{self._label()}: there is no {what} {wanted[:80]}", hint)
        return ""

    def value(self) -> Any:
        """The value as plain JSON."""
        for node in _all(self._node):
            node.asked.update(node.fields)
        return plain(self._node) if self._node is not _ABSENT or not self._fallback else self._fallback.value()

    # what to say ----------------------------------------------------------------------------------------------

    def _label(self) -> str:
        return self.name or "value"

    def wrong(self, wanted: str) -> None:
        """Say that something else was expected here."""
        is_ = {Kind.MAP: "a map", Kind.LIST: "a list"}.get(self._node.kind, repr(self._node.text[:40]))
        self.error("type-wrong", f"{self._label()}: expected {wanted}, found {is_}")

    def error(self, code: str, message: str, hint: str = "") -> None:
        """A finding here that refuses the descriptor."""
        self._say(Severity.ERROR, code, message, hint)

    def warning(self, code: str, message: str, hint: str = "") -> None:
        """A finding here that is worth a look."""
        self._say(Severity.WARNING, code, message, hint)

    def info(self, code: str, message: str, hint: str = "") -> None:
        """A finding here about what is kept and not acted on."""
        self._say(Severity.INFO, code, message, hint)

    def _say(self, severity: Severity, code: str, message: str, hint: str) -> None:
        self.source.report.add(
            Finding(
                severity=severity,
                code=code,
                message=message,
                file=self.source.file,
                line=self._at.line,
                column=self._at.column,
                hint=hint,
            )
        )

    def replaced(self, text: str) -> Reading:
        """The same place with another text."""
        return Reading(scalar(text, self._at), self.source, name=self.name)


def _all(node: Node) -> Iterator[Node]:
    yield node
    for child in (*node.items, *node.fields.values()):
        yield from _all(child)


def plain(node: Node) -> Any:
    """A node as JSON values: numbers that JSON can hold, text otherwise."""
    if node.kind is Kind.MAP:
        return {key: plain(value) for key, value in node.fields.items()}
    if node.kind is Kind.LIST:
        return [plain(item) for item in node.items]
    if node.tag == "null":
        return None
    if node.tag == "bool":
        return node.text.lower() in _TRUE
    if node.tag == "int" and re.fullmatch(r"[+-]?(0|[1-9]\d{0,17})", node.text):
        return int(node.text)
    if node.tag == "float" and _NUMBER.fullmatch(node.text) and math.isfinite(float(node.text)):
        return float(node.text)
    return node.text


def unread(node: Node, path: str = "") -> Iterator[tuple[str, Node, Node, str]]:
    """What nobody asked for, outermost first: (path, the map it is in, the value, its key)."""
    if node.kind is Kind.MAP:
        for key, value in node.fields.items():
            if key in node.asked:
                yield from unread(value, f"{path}/{key}" if path else key)
            elif not value.is_null:
                yield f"{path}/{key}" if path else key, node, value, key
    elif node.kind is Kind.LIST:
        for index, item in enumerate(node.items):
            yield from unread(item, f"{path}[{index}]")
