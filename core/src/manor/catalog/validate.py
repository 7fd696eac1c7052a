"""Validate whatever is under some paths: one item a package or loose descriptor, with what was found in each.

An archive is one item. A folder with ``TOSCA-Metadata/TOSCA.meta`` is one, whatever is inside, but for further such
folders in it. Any other YAML or JSON file is one of its own: a descriptor, read by itself with the files around it in
reach, or ``other`` (types alone, Heat, Kubernetes, Helm …), which is neither accepted nor refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from manor.api.records import Finding
from manor.catalog.archives import is_archive, open_files
from manor.catalog.csar import META
from manor.catalog.files import FolderFiles, NearbyFiles, PackageFiles
from manor.catalog.package import (
    DESCRIPTOR_SUFFIXES,
    ItemKind,
    PackageReading,
    read_descriptor,
    read_package,
)
from manor.catalog.report import Report, refusal
from manor.errors import DescriptorError

__all__ = ["Item", "all_accepted", "validate"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One thing validated."""

    path: str
    format: str
    kind: ItemKind
    accepted: bool | None
    """Without any ERROR; None for ``other``, which counts as neither."""
    findings: tuple[Finding, ...] = ()
    reading: PackageReading | None = None

    def to_json(self) -> dict[str, Any]:
        """As ``manor --json package validate`` prints it."""
        return {
            "path": self.path,
            "format": self.format,
            "kind": str(self.kind),
            "accepted": self.accepted,
            "findings": [{**asdict(finding), "severity": str(finding.severity)} for finding in self.findings],
        }


def all_accepted(items: Iterable[Item]) -> bool:
    """Whether no item is refused."""
    return all(item.accepted is not False for item in items)


def validate(paths: Iterable[Path]) -> list[Item]:
    """Every item under these paths, in order. Never raises for what a path holds, or for one that is not there."""
    return [item for path in paths for item in _items(Path(path))]


def _items(path: Path) -> Iterator[Item]:
    if path.is_dir():
        yield from _folder(path)
    elif path.is_file():
        yield _archive(path) if is_archive(path) or not path.name.endswith(DESCRIPTOR_SUFFIXES) else _loose(path)
    else:
        finding = refusal("path-missing", "there is no such file or folder", file=str(path))
        yield Item(path=str(path), format="", kind=ItemKind.UNKNOWN, accepted=False, findings=(finding,))


def _folder(root: Path) -> Iterator[Item]:
    inside: list[str] = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name != ".git")
        here = Path(folder)
        if (here / META).is_file():
            yield _package(here)
            inside.append(f"{folder}{os.sep}")
        if any(f"{folder}{os.sep}".startswith(prefix) for prefix in inside):
            continue
        for name in sorted(names):
            path = here / name
            if is_archive(path) and path.is_file():
                yield _archive(path)
            elif name.lower().endswith(DESCRIPTOR_SUFFIXES) and path.is_file():
                yield _loose(path)


def _package(path: Path) -> Item:
    report = Report()
    try:
        files: PackageFiles = FolderFiles(path)
    except DescriptorError as error:
        return _refused(path, error)
    return _item(path, read_package(files, report), report)


def _archive(path: Path) -> Item:
    report = Report()
    try:
        files = open_files(path)
    except DescriptorError as error:
        return _refused(path, error)
    try:
        return _item(path, read_package(files, report), report)
    finally:
        files.close()


def _refused(path: Path, error: DescriptorError) -> Item:
    return Item(path=str(path), format="", kind=ItemKind.UNKNOWN, accepted=False, findings=error.findings)


def _loose(path: Path) -> Item:
    report = Report()
    try:
        files = NearbyFiles(path)
    except DescriptorError as error:
        return _refused(path, error)
    return _item(path, read_descriptor(files, files.entry, report), report)


def _item(path: Path, reading: PackageReading, report: Report) -> Item:
    accepted = None if reading.kind is ItemKind.OTHER else not report.refused
    return Item(
        path=str(path),
        format=reading.format,
        kind=reading.kind,
        accepted=accepted,
        findings=report.findings if reading.kind is not ItemKind.OTHER else (),
        reading=reading,
    )
