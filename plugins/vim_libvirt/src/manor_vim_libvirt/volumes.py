"""Volumes: one qcow2 file a disk, blank or on top of an image that stays untouched.

A volume is never resized in place: its file's name holds the hash of its spec, and a disk that silently kept an old
record would be worse than a refused change.
"""

from __future__ import annotations

from manor.api import CallContext, Observed, Phase, ResourceKind, ResourceRef, VolumeSpec, spec_hash
from manor.errors import Conflict, NotFound, Permanent
from manor_vim_libvirt import snapshots
from manor_vim_libvirt.link import Link
from manor_vim_libvirt.names import READY, Sort, StoredName
from manor_vim_libvirt.pool import Pool

__all__ = ["ensure", "observed", "remove"]


def ensure(link: Link, pool: Pool, spec: VolumeSpec, ctx: CallContext) -> Observed:
    """Make the volume. Raises NotFound where its image is not on the host, Conflict where the spec changed."""
    digest = spec_hash(spec)
    name = StoredName.of(Sort.VOLUME, spec.owner, spec.key, digest)
    names = pool.names()
    there = pool.select(Sort.VOLUME, spec.key, names)
    if there is not None and there != name:
        raise Conflict(f"volume {spec.key} on host {link.name} was made from another spec", fields=("size_bytes",))
    if there is not None:
        if pool.size_bytes(there) is not None:
            return observed(link, pool, there)
        pool.refresh()  # the file was deleted behind libvirt's back: make it anew
    if spec.snapshot:
        copy = snapshots.copy_for(link, pool, spec, names)
        size = pool.size_bytes(copy)
        pool.copy(name, copy, max(spec.size_bytes, size[0] if size else 0), ctx=ctx)
        return observed(link, pool, name)
    backing, size_bytes = ("", ""), spec.size_bytes
    if spec.image:
        backing, virtual_bytes = _backing(link, pool, spec, names)
        size_bytes = size_bytes or virtual_bytes
        if size_bytes < virtual_bytes:
            raise Permanent(
                f"volume {spec.key}: {size_bytes} bytes is less than its image needs ({virtual_bytes})",
                hint="give the storage in the descriptor at least the image's virtual size",
            )
    pool.create(name, size_bytes, "qcow2", ctx=ctx, backing=backing)
    return observed(link, pool, name)


def _backing(link: Link, pool: Pool, spec: VolumeSpec, names: list[StoredName]) -> tuple[tuple[str, str], int]:
    """Path and format of the image, and the size in bytes of its virtual disk; all from its commit mark."""
    image = pool.select(Sort.IMAGE, spec.image, names)
    ready = next((name for name in names if name.sort in READY and name.key == spec.image), None)
    size = pool.size_bytes(ready) if ready is not None else None
    if image is None or ready is None or size is None:
        raise NotFound(f"image {spec.image} of volume {spec.key} is not on host {link.name}", hint="plan again")
    return (pool.path_of(image), str(ready.sort)), size[0]


def observed(link: Link, pool: Pool, name: StoredName) -> Observed:
    """A volume as it is."""
    size = pool.size_bytes(name)
    detail: dict[str, object] = {"path": pool.path_of(name)}
    if size is None:
        detail["reason"] = "its file is gone"
    else:
        detail |= {"size_bytes": size[0], "allocation_bytes": size[1]}
    return Observed(
        ref=ResourceRef(kind=ResourceKind.VOLUME, key=name.key, host=link.name),
        owner="",
        native_id=pool.path_of(name),
        phase=Phase.ERROR if size is None else Phase.ACTIVE,
        spec_hash=name.spec_hash,
        detail=detail,
    )


def remove(pool: Pool, key: str, ctx: CallContext) -> None:
    """Delete the volume's file."""
    names = [name for name in pool.names() if name.sort is Sort.VOLUME and name.key == key]
    ctx.check(f"removing volume {key}")
    pool.delete(names)
