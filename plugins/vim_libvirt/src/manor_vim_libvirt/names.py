"""Names of native objects, made from owner and key alone, so that a crash can never separate a thing from its name.

A file in the storage pool has no metadata of its own and a side file could be lost or written late. So the file's name
*is* the record: ``<sort>+<owner tag>+<spec hash>+<key with "+" for "/">``. It comes into being and vanishes with the
file, survives a restart of anything, and is at most 240 characters long.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "READY",
    "Sort",
    "StoredName",
    "domain_uuid",
    "interface_id",
    "native_name",
    "native_prefix",
    "network_uuid",
    "owner_tag",
    "pool_name",
]

_NAMESPACE = uuid.UUID("6b3f3a52-0b7e-5d0e-9a53-0a4f3f1f6d11")
_KEY = re.compile(r"[A-Za-z0-9._/@-]{1,200}")
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9]+")


def owner_tag(owner: str) -> str:
    """12 hexadecimal digits that stand for an owner where its whole tag does not fit."""
    return hashlib.sha256(owner.encode()).hexdigest()[:12]


def domain_uuid(owner: str, key: str) -> uuid.UUID:
    """UUID of the domain of a node."""
    return uuid.uuid5(_NAMESPACE, f"node\0{owner}\0{key}")


def network_uuid(owner: str, key: str) -> uuid.UUID:
    """UUID of the libvirt network of a virtual link."""
    return uuid.uuid5(_NAMESPACE, f"network\0{owner}\0{key}")


def interface_id(owner: str, key: str) -> uuid.UUID:
    """``external_ids:iface-id`` of a port on Open vSwitch."""
    return uuid.uuid5(_NAMESPACE, f"port\0{owner}\0{key}")


def native_prefix(owner: str) -> str:
    """What the name of each domain and network of ``owner`` starts with."""
    return f"manor-{owner_tag(owner)[:8]}-"


def native_name(owner: str, key: str, native: uuid.UUID) -> str:
    """Name of a domain or network: to be recognised by people, unique by its last part."""
    readable = _NOT_PLAIN.sub("-", key).strip("-")[:40].strip("-")
    return f"{native_prefix(owner)}{readable}-{native.hex[:8]}"


def pool_name(owner: str) -> str:
    """Name of the storage pool of an installation on a host."""
    return f"manor-{owner_tag(owner)}"


class Sort(StrEnum):
    """What a file in the pool is."""

    IMAGE = "image"
    READY_QCOW2 = "qcow2"
    """A file of holes as long as the image's virtual disk: the image of this name is whole, verified and qcow2."""
    READY_RAW = "raw"
    """The same for an image that is used byte by byte: a raw disk, a kernel, an initramfs."""
    VOLUME = "volume"
    SNAPSHOT = "snapshot"
    """The copy of one volume; its key is that of the snapshot and the last part of the volume's."""
    SNAPSHOT_READY = "taken"
    """A file of no content: the snapshot of this key is whole."""
    SEED = "seed"
    CONSOLE = "console"


READY = frozenset({Sort.READY_QCOW2, Sort.READY_RAW})


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredName:
    """The name of a file in our pool, read or to be written."""

    sort: Sort
    tag: str
    spec_hash: str
    key: str

    def __str__(self) -> str:
        return f"{self.sort}+{self.tag}+{self.spec_hash}+{self.key.replace('/', '+')}"

    @classmethod
    def of(cls, sort: Sort, owner: str, key: str, spec_hash: str) -> StoredName:
        """The name of a file to be made. Raises ValueError on a key that core does not make."""
        if _KEY.fullmatch(key) is None:
            raise ValueError(f"not a resource key: {key[:220]!r}")
        return cls(sort=sort, tag=owner_tag(owner), spec_hash=spec_hash, key=key)

    @classmethod
    def read(cls, name: str) -> StoredName | None:
        """What a file's name says; None for a file that is not ours."""
        parts = name.split("+", 3)
        if len(parts) != 4 or parts[0] not in set(Sort):
            return None
        return cls(sort=Sort(parts[0]), tag=parts[1], spec_hash=parts[2], key=parts[3].replace("+", "/"))
