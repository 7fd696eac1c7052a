"""Specs as JSON, and their hash, which the driver keeps: by it is told what is as wanted."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from manor.api.resources import (
    ChainSpec,
    ImageSpec,
    NetworkSpec,
    NodeSpec,
    ResourceKind,
    ResourceSpec,
    SegmentSpec,
    SnapshotSpec,
    VolumeSpec,
)

__all__ = ["spec_from_json", "spec_hash", "spec_to_json"]

_SPECS: Mapping[ResourceKind, type[Any]] = {
    cls.kind: cls for cls in (ImageSpec, NetworkSpec, VolumeSpec, NodeSpec, SegmentSpec, ChainSpec, SnapshotSpec)
}

_NOT_HASHED = {ResourceKind.IMAGE: frozenset({"name", "source"}), ResourceKind.VOLUME: frozenset({"snapshot"})}
"""An image is its content: two packages may name one file in two ways. A volume lives on after what filled it."""


def spec_to_json(spec: ResourceSpec) -> dict[str, Any]:
    """The spec as JSON values, with its kind, to be read back by :func:`spec_from_json`."""
    return {"kind": str(spec.kind), **_plain(spec)}


def _plain(value: Any) -> Any:
    """As :func:`dataclasses.asdict`, but for values that nobody changes: what is no container is not copied.

    Every plan, hash and journal row goes through here.
    """
    kind = type(value)
    if kind in _LEAVES:
        return value
    if kind is tuple:
        return tuple([_plain(item) for item in value])
    names = _FIELD_NAMES.get(kind)
    if names is None and dataclasses.is_dataclass(kind):
        names = _FIELD_NAMES[kind] = tuple((one.name, bool(one.metadata)) for one in dataclasses.fields(kind))
    if names is not None:
        told = ((name, getattr(value, name), is_later) for name, is_later in names)
        return {name: _plain(item) for name, item, is_later in told if item or not is_later}
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


_LEAVES = frozenset({str, int, float, bool, type(None)})
_FIELD_NAMES: dict[type[Any], tuple[tuple[str, bool], ...]] = {}
"""Each field, and whether it is one that says nothing while it is empty (``_LATER`` in :mod:`manor.api.resources`)."""


def spec_from_json(data: Mapping[str, Any]) -> ResourceSpec:
    """Read what :func:`spec_to_json` wrote. Raises ValueError on an unknown kind or a wrong shape."""
    from pydantic import TypeAdapter

    fields = dict(data)
    cls = _SPECS[ResourceKind(fields.pop("kind"))]
    adapter = _ADAPTERS.get(cls)
    if adapter is None:
        adapter = _ADAPTERS[cls] = TypeAdapter(cls)
    spec: ResourceSpec = adapter.validate_python(fields)
    return spec


_ADAPTERS: dict[type[Any], Any] = {}


def spec_hash(spec: ResourceSpec) -> str:
    """16 hexadecimal digits over everything in the spec that the native object depends on."""
    skip = _NOT_HASHED.get(spec.kind, frozenset())
    data = {name: value for name, value in spec_to_json(spec).items() if name not in skip}
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
