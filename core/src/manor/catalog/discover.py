"""Find the packages and descriptors under a path: what counts as one, and how each is opened and read.

An archive is one. A folder with ``TOSCA-Metadata/TOSCA.meta`` is one, whatever is inside, but for further such
folders in it. Any other YAML or JSON file is one of its own, read with the files around it in reach.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from manor.api.records import DescriptorFormat
from manor.catalog.archives import is_archive, open_files
from manor.catalog.csar import META
from manor.catalog.files import FolderFiles, NearbyFiles, PackageFiles, refused
from manor.catalog.package import DESCRIPTOR_SUFFIXES, PackageReading, read_descriptor, read_package
from manor.catalog.report import Report

__all__ = ["Found", "Wrapping", "discover"]


class Wrapping(Enum):
    """What a package or descriptor comes in."""

    FOLDER = auto()
    ARCHIVE = auto()
    LOOSE = auto()
    MISSING = auto()


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """Something that may be a package or descriptor."""

    path: Path
    wrapping: Wrapping

    def open(self) -> PackageFiles:
        """Its files. Raises DescriptorError where they are not there, unreadable or refused."""
        if self.wrapping is Wrapping.MISSING:
            raise refused("path-missing", "there is no such file or folder", str(self.path))
        if self.wrapping is Wrapping.FOLDER:
            return FolderFiles(self.path)
        return NearbyFiles(self.path) if self.wrapping is Wrapping.LOOSE else open_files(self.path)

    def read(self, files: PackageFiles, report: Report, formats: Sequence[DescriptorFormat] = ()) -> PackageReading:
        """Read what :meth:`open` gave; whatever is wrong with it goes to the report."""
        if isinstance(files, NearbyFiles):
            return read_descriptor(files, files.entry, report, formats)
        return read_package(files, report, formats)


def discover(path: Path) -> Iterator[Found]:
    """Everything at or below ``path`` that may be one, in order of name."""
    if path.is_dir():
        yield from _folder(path)
    elif not path.is_file():
        yield Found(path=path, wrapping=Wrapping.MISSING)
    elif path.name.lower().endswith(DESCRIPTOR_SUFFIXES):
        yield Found(path=path, wrapping=Wrapping.LOOSE)
    else:
        yield Found(path=path, wrapping=Wrapping.ARCHIVE)


def _folder(root: Path) -> Iterator[Found]:
    inside: list[str] = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name != ".git")
        here = Path(folder)
        if (here / META).is_file():
            yield Found(path=here, wrapping=Wrapping.FOLDER)
            inside.append(f"{folder}{os.sep}")
        if any(f"{folder}{os.sep}".startswith(prefix) for prefix in inside):
            continue
        for name in sorted(names):
            path = here / name
            if is_archive(path) and path.is_file():
                yield Found(path=path, wrapping=Wrapping.ARCHIVE)
            elif name.lower().endswith(DESCRIPTOR_SUFFIXES) and path.is_file():
                yield Found(path=path, wrapping=Wrapping.LOOSE)
