"""Images: a file brought to a host once, whole and verified, or not there at all.

The upload cannot be renamed into place through libvirt, so a second file beside the image is what commits it: it has
no content, its name tells the format that was verified and its length the size of the virtual disk. Without it an
image is PENDING, whatever its size, and the next ``ensure`` sends it again. The format is never guessed from content
later: a guest's author could have made a raw disk look like a qcow2 that opens other files of the host.
"""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from manor.api import CallContext, DiskFormat, ImageSpec, Observed, Phase, ResourceKind, ResourceRef, spec_hash
from manor.errors import Conflict, NotFound, Permanent
from manor_vim_libvirt.alone import alone
from manor_vim_libvirt.link import Link
from manor_vim_libvirt.names import READY, Sort, StoredName
from manor_vim_libvirt.pool import QUIET_S, InUse, Pool

__all__ = ["ensure", "observed", "read_qcow2", "remove"]

_BLOCK_BYTES = 1 << 20
_EXTERNAL_DATA = 1 << 2
_AGAIN_S = 0.5
_TURNS = 64
"""Images of so many kinds are sent at a time; there is a file for each."""


def ensure(link: Link, pool: Pool, spec: ImageSpec, ctx: CallContext, state_dir: Path) -> Observed:
    """Bring the image to the host, verify it on the way. Raises Permanent where the file is not what was named.

    Calls of this installation on this machine take turns, by files in ``state_dir``; those of other nodes are told by
    what they send.
    """
    turn = int(hashlib.sha256(spec.key.encode()).hexdigest(), 16) % _TURNS
    made = _standing(link, pool, spec)
    while made is None:
        with alone(state_dir / f"sending-{turn}.lock", ctx, f"sending image {spec.key}"):
            made = _standing(link, pool, spec) or _sent(link, pool, spec, ctx)
        if made is None:
            ctx.check(f"waiting for image {spec.key}, which another process sends")
            time.sleep(min(_AGAIN_S, ctx.remaining_s()))
    return made


def _names(spec: ImageSpec) -> tuple[StoredName, StoredName]:
    """Of the image, and of what commits it."""
    digest = spec_hash(spec)
    sort = Sort.READY_QCOW2 if spec.format is DiskFormat.QCOW2 else Sort.READY_RAW
    image = StoredName.of(Sort.IMAGE, spec.owner, spec.key, digest)
    return image, StoredName.of(sort, spec.owner, spec.key, digest)


def _standing(link: Link, pool: Pool, spec: ImageSpec) -> Observed | None:
    """The image, where it is there and whole."""
    image, ready = _names(spec)
    names = pool.names()
    if any(one.key == spec.key and one.sort is Sort.IMAGE and one.spec_hash != image.spec_hash for one in names):
        raise Conflict(f"image {spec.key} on host {link.name} was made from another spec", fields=("sha256",))
    if ready in names and image in names and pool.size_bytes(image) is not None:
        return observed(link, pool, image, is_ready=True)
    return None


def _is_being_sent(pool: Pool, image: StoredName, ready: StoredName, ctx: CallContext) -> bool:
    """Whether something is added to it, or it is marked as whole, within a while: else it was left by the dead."""
    was_bytes, until = pool.length_bytes(image), time.monotonic() + QUIET_S
    while time.monotonic() < until:
        time.sleep(min(_AGAIN_S, ctx.remaining_s()))
        ctx.check(f"waiting for image {image.key}, which another process may be sending")
        if ready in pool.names() or pool.length_bytes(image) != was_bytes:
            return True
    return False


def _sent(link: Link, pool: Pool, spec: ImageSpec, ctx: CallContext) -> Observed | None:
    """The image, sent now; None where another process is at it, or may just be."""
    image, ready = _names(spec)
    names = pool.names()
    ctx.check(f"sending image {spec.key}")
    if image in names and ready not in names and _is_being_sent(pool, image, ready, ctx):
        return None
    if image in names:
        pool.refresh()  # it may have been deleted behind libvirt's back
    try:
        with Path(spec.source).open("rb") as file:
            virtual_bytes = _virtual_bytes(file, spec)
            pool.delete([ready])
            pool.upload(image, _verified(file, spec), spec.size_bytes, ctx=ctx)
        pool.create(ready, virtual_bytes, "raw", ctx=ctx)
    except InUse:
        return None
    except OSError as error:
        raise NotFound(f"image {spec.key}: {error}", hint="onboard the package again") from error
    return observed(link, pool, image, is_ready=True)


def _virtual_bytes(file: BinaryIO, spec: ImageSpec) -> int:
    """Size of the disk that a guest sees."""
    if spec.format is not DiskFormat.QCOW2:
        return spec.size_bytes
    return read_qcow2(file, spec.key)


def _verified(file: BinaryIO, spec: ImageSpec) -> Iterator[bytes]:
    """The file's blocks; raises at the end when they were not what the spec says, before anything is committed."""
    digest = hashlib.sha256()
    size_bytes = 0
    while block := file.read(_BLOCK_BYTES):
        digest.update(block)
        size_bytes += len(block)
        if size_bytes > spec.size_bytes:
            break
        yield block
    if size_bytes != spec.size_bytes or digest.hexdigest() != spec.sha256.lower():
        raise Permanent(
            f"image {spec.key}: {spec.source} is not the file that was on-boarded (sha256 or size differs)",
            hint="onboard the package again",
        )


def read_qcow2(file: BinaryIO, key: str) -> int:
    """Virtual size in bytes of a qcow2 file, which is left at its beginning.

    Raises Permanent on one that would make the host open files that its author names.
    """
    header = file.read(104)
    file.seek(0)
    if len(header) < 72 or header[:4] != b"QFI\xfb":
        raise Permanent(f"image {key} is not qcow2", hint="name its true format in the package")
    version, backing, _, _, virtual_bytes = struct.unpack(">IQIIQ", header[4:32])
    incompatible = struct.unpack(">Q", header[72:80])[0] if version >= 3 and len(header) >= 80 else 0
    if backing or incompatible & _EXTERNAL_DATA:
        raise Permanent(
            f"image {key} refers to another file, which could be any file of the host",
            hint="flatten it: qemu-img convert -O qcow2 OLD NEW",
        )
    return int(virtual_bytes)


def observed(link: Link, pool: Pool, image: StoredName, *, is_ready: bool, looks: bool = False) -> Observed:
    """An image as it is; ``looks`` asks whether its file is still there."""
    detail: dict[str, Any] = {"path": pool.path_of(image)}
    phase = Phase.ACTIVE if is_ready else Phase.PENDING
    if not is_ready:
        detail["reason"] = "its upload was not finished"
    elif looks and pool.size_bytes(image) is None:
        phase, detail["reason"] = Phase.ERROR, "its file is gone"
    return Observed(
        ref=ResourceRef(kind=ResourceKind.IMAGE, key=image.key, host=link.name),
        owner="",
        native_id=pool.path_of(image),
        phase=phase,
        spec_hash=image.spec_hash,
        detail=detail,
    )


def remove(pool: Pool, key: str, ctx: CallContext, users: Callable[[str], Sequence[str]] = lambda _path: ()) -> None:
    """Take the image off the host; the commit mark goes first. ``users`` tells what boots from a file's path.

    Raises Conflict while a volume is built on it or a machine boots from it.
    """
    names = pool.names()
    for image in (name for name in names if name.sort is Sort.IMAGE and name.key == key):
        path = pool.path_of(image)
        using = [*pool.built_on(path, names), *users(path)]
        if using:
            raise Conflict(
                f"image {key} is in use by {', '.join(using)}", replace=False, hint="remove what uses it first"
            )
    ctx.check(f"removing image {key}")
    pool.delete(name for name in names if name.sort in READY and name.key == key)
    pool.delete(name for name in names if name.sort is Sort.IMAGE and name.key == key)
