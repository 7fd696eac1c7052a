"""Validate whatever is under some paths: one item a package or loose descriptor, with what was found in each.

A file that is no descriptor at all (types alone, Heat, Kubernetes, Helm …) is an item of kind ``other``, neither
accepted nor refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from manor.api.records import DescriptorFormat, Finding
from manor.catalog.discover import Found, discover
from manor.catalog.package import ItemKind, PackageReading
from manor.catalog.report import Report
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


def validate(paths: Iterable[Path], *, formats: Sequence[DescriptorFormat] = ()) -> list[Item]:
    """Every item under these paths, in order. Never raises for what a path holds, or for one that is not there.

    ``formats`` are plugins' descriptor languages beside SOL001 and SOL006.
    """
    return [_item(found, formats) for path in paths for found in discover(Path(path))]


def _item(found: Found, formats: Sequence[DescriptorFormat]) -> Item:
    report = Report()
    reading = PackageReading(kind=ItemKind.UNKNOWN)
    try:
        files = found.open()
    except DescriptorError as error:
        report.extend(error.findings)
    else:
        try:
            reading = found.read(files, report, formats)
        finally:
            files.close()
    nothing = reading.kind is ItemKind.OTHER
    return Item(
        path=str(found.path),
        format=reading.format,
        kind=reading.kind,
        accepted=None if nothing else not report.refused,
        findings=() if nothing else report.findings,
        reading=reading,
    )
