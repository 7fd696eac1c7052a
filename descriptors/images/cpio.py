"""An initramfs archive (cpio "newc") that is the same to the last bit for the same files.

cpio(1) writes times, inode numbers and directory order of the build host into it, and content hashes would differ
from host to host. This one writes none of them.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import BinaryIO

__all__ = ["write_archive"]


def write_archive(root: Path, out: BinaryIO) -> None:
    """Write everything under ``root``: sorted, owned by root, without times, modes 0755 or 0644."""
    paths = sorted(root.rglob("*"), key=lambda path: path.relative_to(root).as_posix())
    for number, path in enumerate(paths, start=1):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            _entry(out, name, number, stat.S_IFLNK | 0o777, str(path.readlink()).encode())
        elif path.is_dir():
            _entry(out, name, number, stat.S_IFDIR | 0o755, b"")
        else:
            executable = path.stat().st_mode & 0o100
            _entry(out, name, number, stat.S_IFREG | (0o755 if executable else 0o644), path.read_bytes())
    _entry(out, "TRAILER!!!", 0, 0, b"")


def _entry(out: BinaryIO, name: str, inode: int, mode: int, data: bytes) -> None:
    #         inode  mode  uid gid links mtime size       device numbers  name length         checksum
    numbers = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name.encode()) + 1, 0)
    head = b"070701" + b"".join(b"%08x" % number for number in numbers) + name.encode() + b"\0"
    out.write(_padded(head))
    out.write(_padded(data))


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
