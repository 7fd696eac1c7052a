"""YAML and JSON text as nodes that know their line, composed within bounds.

Composing from the parser's events, rather than loading, keeps what a descriptor's author wrote (``1.10`` stays
``1.10``), where they wrote it, and lets hostile input be refused before it costs anything: nesting, aliases that
multiply, aliases of a node inside itself, keys given twice. No tag is ever constructed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import yaml

from manor.catalog.report import refusal
from manor.errors import DescriptorError

__all__ = ["MAX_BYTES", "Kind", "Node", "compose", "scalar"]

MAX_BYTES = 4 << 20
"""Largest descriptor file that is read."""
MAX_DEPTH = 80
MAX_NODES = 100_000
"""Nodes of one document with every alias counted as often as it is used."""

_TAG = "tag:yaml.org,2002:"
# The C parser is ten times faster; a Python built without libyaml still works.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Kind(Enum):
    """What a node is."""

    SCALAR = auto()
    LIST = auto()
    MAP = auto()


@dataclass(slots=True, eq=False)
class Node:
    """A value in a document. ``line`` and ``column`` are 1-based."""

    kind: Kind
    line: int
    column: int
    text: str = ""
    tag: str = "str"
    """Of a scalar: ``str``, ``int``, ``float``, ``bool``, ``null`` or what the document says."""
    items: list[Node] = field(default_factory=list)
    fields: dict[str, Node] = field(default_factory=dict)
    places: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Line and column of each key of a map."""
    asked: set[str] = field(default_factory=set)
    """Keys that a reader has asked for, there or not."""
    weight: int = 1
    height: int = 1

    @property
    def is_null(self) -> bool:
        """Nothing was written here."""
        return self.kind is Kind.SCALAR and self.tag == "null"


def scalar(text: str, like: Node, tag: str = "str") -> Node:
    """A scalar that stands at the place of another node."""
    return Node(Kind.SCALAR, like.line, like.column, text=text, tag=tag)


def compose(data: bytes, file: str) -> list[Node]:
    """The documents in ``data``. Raises DescriptorError with one finding where it is not well-formed or too much."""
    if len(data) > MAX_BYTES:
        raise _refused("file-large", f"the file has {len(data)} bytes, {MAX_BYTES} are read", file)
    try:
        text = _decode(data)
    except UnicodeDecodeError as error:
        raise _refused("text-encoding", f"not text in UTF-8 (byte {error.start})", file) from None
    try:
        return _Composer(file).documents(text)
    except yaml.MarkedYAMLError as error:
        if text.lstrip()[:1] in ("{", "["):
            # JSON allows what YAML does not: tabs, escaped surrogate pairs.
            nodes = _from_json(text, file)
            if nodes is not None:
                return nodes
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        said = " ".join(part for part in (error.context, error.problem) if part) or "not YAML"
        raise _refused("yaml-syntax", f"not well-formed YAML: {said}", file, line, column) from None
    except yaml.YAMLError as error:
        said = str(error).splitlines()[0][:200] if str(error) else "unreadable"
        raise _refused("yaml-syntax", f"not well-formed YAML: {said}", file) from None


def _decode(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    return data.decode("utf-8-sig")


def _refused(code: str, message: str, file: str, line: int = 0, column: int = 0) -> DescriptorError:
    where = f"{file}:{line}" if line else file
    return DescriptorError(
        f"{where}: {message}", findings=[refusal(code, message, file=file, line=line, column=column)]
    )


class _Composer:
    """Turns parser events into nodes without recursion, counting as it goes."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._total = 0

    def documents(self, text: str) -> list[Node]:
        loader = _LOADER(text)
        try:
            return list(self._documents(loader))
        finally:
            loader.dispose()

    def _documents(self, loader: Any) -> Iterator[Node]:
        resolve: Callable[..., str] = loader.resolve
        while True:
            event = loader.get_event()
            if isinstance(event, yaml.StreamEndEvent):
                return
            if isinstance(event, yaml.DocumentStartEvent):
                yield self._document(loader, resolve)

    def _document(self, loader: Any, resolve: Callable[..., str]) -> Node:
        anchors: dict[str, Node] = {}
        open_anchors: dict[int, str] = {}
        stack: list[tuple[Node, Node | None]] = []
        """Open collections, each with the key that waits for its value."""
        root: Node | None = None
        while True:
            event = loader.get_event()
            if isinstance(event, yaml.DocumentEndEvent):
                return root if root is not None else Node(Kind.SCALAR, 1, 1, tag="null")
            mark = event.start_mark
            if isinstance(event, yaml.ScalarEvent):
                tag = event.tag or resolve(yaml.ScalarNode, event.value, event.implicit)
                node = Node(
                    Kind.SCALAR, mark.line + 1, mark.column + 1, text=event.value, tag=str(tag).removeprefix(_TAG)
                )
                self._count(node, 1)
            elif isinstance(event, yaml.AliasEvent):
                found = anchors.get(str(event.anchor))
                if found is None or event.anchor in open_anchors.values():
                    said = "stands inside itself" if found is not None else "names no anchor before it"
                    raise _refused(
                        "yaml-alias", f"alias *{event.anchor} {said}", self._file, mark.line + 1, mark.column + 1
                    )
                node = found
                self._count(node, node.weight)
            elif isinstance(event, yaml.SequenceStartEvent | yaml.MappingStartEvent):
                kind = Kind.MAP if isinstance(event, yaml.MappingStartEvent) else Kind.LIST
                node = Node(kind, mark.line + 1, mark.column + 1)
                self._count(node, 1)
                if event.anchor:
                    anchors[event.anchor] = node
                    open_anchors[id(node)] = event.anchor
                stack.append((node, None))
                if len(stack) > MAX_DEPTH:
                    self._too_deep(node)
                continue
            else:
                node = stack.pop()[0]
                open_anchors.pop(id(node), None)
                if kind_has_merge(node):
                    self._merge(node)
            if getattr(event, "anchor", None) and isinstance(event, yaml.ScalarEvent):
                anchors[str(event.anchor)] = node
            if stack:
                self._put(stack, node)
            else:
                root = node

    def _count(self, node: Node, weight: int) -> None:
        self._total += weight
        if self._total > MAX_NODES:
            message = f"the document grows to more than {MAX_NODES} nodes"
            raise _refused("yaml-bomb", message, self._file, node.line, node.column)

    def _too_deep(self, node: Node) -> None:
        message = f"nested more than {MAX_DEPTH} deep"
        raise _refused("yaml-deep", message, self._file, node.line, node.column)

    def _put(self, stack: list[tuple[Node, Node | None]], node: Node) -> None:
        parent, key = stack[-1]
        if parent.kind is Kind.LIST:
            parent.items.append(node)
        elif key is None:
            if node.kind is not Kind.SCALAR:
                raise _refused("yaml-key", "a list or map cannot be a key", self._file, node.line, node.column)
            stack[-1] = (parent, node)
            return
        else:
            if key.text in parent.fields:
                first = parent.places[key.text][0]
                message = f"key {key.text[:80]!r} is given twice, first in line {first}"
                raise _refused("yaml-duplicate-key", message, self._file, key.line, key.column)
            parent.fields[key.text] = node
            parent.places[key.text] = (key.line, key.column)
            stack[-1] = (parent, None)
        parent.weight += node.weight
        parent.height = max(parent.height, node.height + 1)
        if len(stack) + node.height > MAX_DEPTH:
            self._too_deep(node)

    def _merge(self, node: Node) -> None:
        """YAML's ``<<``: keys of another map where this one has none of its own."""
        merged = node.fields.pop("<<")
        node.places.pop("<<")
        for source in merged.items if merged.kind is Kind.LIST else [merged]:
            if source.kind is not Kind.MAP:
                raise _refused("yaml-merge", "<< takes a map", self._file, source.line, source.column)
            for key, value in source.fields.items():
                if key not in node.fields:
                    self._count(node, value.weight)
                    node.fields[key] = value
                    node.places[key] = source.places[key]


def kind_has_merge(node: Node) -> bool:
    """Whether a finished map asks for a merge."""
    return node.kind is Kind.MAP and "<<" in node.fields


def _from_json(text: str, file: str) -> list[Node] | None:
    """JSON that is not YAML, with no places; None where it is not JSON either."""

    def pairs(entries: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(entries)
        if len(found) != len(entries):
            raise _refused("yaml-duplicate-key", "a key is given twice in an object", file)
        return found

    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_int=_Number, parse_float=_Number, parse_constant=str)
    except (ValueError, RecursionError):
        return None
    return [_json_node(value, file, 0)]


class _Number(str):
    """A JSON number as it was written."""

    __slots__ = ()


def _json_node(value: Any, file: str, depth: int) -> Node:
    if depth > MAX_DEPTH:
        raise _refused("yaml-deep", f"nested more than {MAX_DEPTH} deep", file)
    if isinstance(value, dict):
        return Node(
            Kind.MAP,
            0,
            0,
            fields={_clean(key): _json_node(item, file, depth + 1) for key, item in value.items()},
            places={_clean(key): (0, 0) for key in value},
        )
    if isinstance(value, list):
        return Node(Kind.LIST, 0, 0, items=[_json_node(item, file, depth + 1) for item in value])
    if value is None:
        return Node(Kind.SCALAR, 0, 0, tag="null")
    if isinstance(value, bool):
        return Node(Kind.SCALAR, 0, 0, text="true" if value else "false", tag="bool")
    if isinstance(value, _Number):
        return Node(Kind.SCALAR, 0, 0, text=str(value), tag="int" if value.lstrip("-").isdigit() else "float")
    return Node(Kind.SCALAR, 0, 0, text=_clean(str(value)))


def _clean(text: str) -> str:
    """Text without lone surrogates, which no file or database takes."""
    return text.encode("utf-8", "replace").decode()
