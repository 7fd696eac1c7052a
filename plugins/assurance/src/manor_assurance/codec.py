"""Learned state as data that cannot execute: a marked, hashed archive of plain arrays and one JSON text.

The hash tells a broken file, not a forged one: whoever can write the state can also hash it. Therefore what is read
is also held to the names, kinds and sizes that the reader expects, and nothing in it is ever evaluated.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from manor.errors import PluginError

__all__ = ["VERSION", "pack", "unpack"]

VERSION = 5
MAGIC = b"manor-assurance state "
MOST_BYTES = 256 * 1024 * 1024
META = "meta"
_KINDS = "biuf"
_HINT = "start the detector without it; it learns anew"


def pack(kind: str, meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays and JSON values as bytes that :func:`unpack` reads."""
    text = json.dumps({"kind": kind, **meta}, sort_keys=True).encode()
    buffer = io.BytesIO()
    members: dict[str, Any] = {META: np.frombuffer(text, np.uint8), **arrays}
    np.savez_compressed(buffer, **members)
    payload = buffer.getvalue()
    return MAGIC + f"{VERSION}\n".encode() + hashlib.sha256(payload).digest() + payload


def unpack(kind: str, data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """JSON values and arrays of a state. Raises PluginError on a foreign, broken or truncated one."""
    head, _, rest = data[: len(MAGIC) + 8].partition(b"\n")
    if not head.startswith(MAGIC) or not rest:
        raise PluginError("this is no state of an assurance detector", hint=_HINT)
    version = head[len(MAGIC) :].decode("ascii", "replace")
    if version != str(VERSION):
        raise PluginError(f"the detector's state has version {version}, this plugin reads {VERSION}", hint=_HINT)
    start = len(head) + 1
    digest, payload = data[start : start + 32], data[start + 32 :]
    if hashlib.sha256(payload).digest() != digest:
        raise PluginError("the detector's state is broken: its hash does not match", hint=_HINT)
    try:
        with zipfile.ZipFile(io.BytesIO(payload)) as archive:
            if sum(item.file_size for item in archive.infolist()) > MOST_BYTES:
                raise PluginError("the detector's state is larger than any detector's", hint=_HINT)
        with np.load(io.BytesIO(payload), allow_pickle=False) as loaded:
            arrays = {name: loaded[name] for name in loaded.files}
        meta = json.loads(arrays.pop(META).tobytes())
    except (zipfile.BadZipFile, zlib.error, ValueError, KeyError, EOFError, OSError, AttributeError) as error:
        raise PluginError(f"the detector's state cannot be read: {error}", hint=_HINT) from error
    if not isinstance(meta, dict) or meta.get("kind") != kind:
        raise PluginError(f"the state is not of a {kind} detector", hint=_HINT)
    if any(not isinstance(array, np.ndarray) or array.dtype.kind not in _KINDS for array in arrays.values()):
        raise PluginError("the detector's state holds something other than numbers", hint=_HINT)
    return meta, arrays
