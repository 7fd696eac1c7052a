"""Images: copies of files, checked; an initramfs is unpacked once and is then the root that nodes lie over."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
from pathlib import Path

from manor.api import CallContext, ImageSpec
from manor.errors import NotFound, Permanent

from manor_vim_netns.programs import run

__all__ = ["Images"]


class Images:
    """Files by native name in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        """Where the copy is."""
        return self._directory / f"{name}.img"

    def ensure(self, name: str, spec: ImageSpec, ctx: CallContext) -> None:
        """The copy is there. Raises NotFound without the source, Permanent where its content is another."""
        target = self.path(name)
        if target.exists():
            return
        partial = target.with_suffix(f".{os.getpid()}")
        try:
            shutil.copyfile(spec.source, partial)
            with partial.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise NotFound(f"image {spec.key}: cannot read {spec.source}: {error.strerror}") from error
        if found != spec.sha256:
            partial.unlink()
            raise Permanent(f"image {spec.key}: {spec.source} has another SHA-256", hint="onboard the package again")
        ctx.check(f"image {spec.key}")
        partial.replace(target)

    def root(self, name: str, ctx: CallContext) -> Path:
        """The initramfs as a folder."""
        folder = self._directory / f"{name}.root"
        if not folder.exists():
            raw = self.path(name).read_bytes()
            data = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
            partial = folder.with_suffix(f".{os.getpid()}")
            partial.mkdir(mode=0o755)
            argv = ["cpio", "--extract", "--make-directories", "--no-absolute-filenames", "--quiet", "-D", str(partial)]
            run(argv, f"image {name}", ctx, stdin=data)
            partial.replace(folder)
        return folder

    def remove(self, name: str) -> None:
        """No copy, no folder."""
        self.path(name).unlink(missing_ok=True)
        shutil.rmtree(self._directory / f"{name}.root", ignore_errors=True)
