"""What people call a package: the one answer for every command, without the import of a database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from manor.errors import UsageError
from manor.model.instance import PackageInfo

__all__ = ["in_full", "meant", "the_one"]


def meant(packages: Iterable[PackageInfo], typed: str) -> tuple[PackageInfo, ...]:
    """Those that an id, a descriptor id, a name, ``NAME-VERSION`` or the start of an id means; what comes first in
    this order wins."""
    ways: tuple[Callable[[PackageInfo], bool], ...] = (
        lambda package: typed in (package.id, package.descriptor_id),
        lambda package: typed == package.name,
        lambda package: typed == in_full(package),
        lambda package: bool(typed) and package.id.startswith(typed),
    )
    known = tuple(packages)
    return next((chosen for way in ways if (chosen := tuple(filter(way, known)))), ())


def the_one(chosen: Sequence[PackageInfo], typed: str) -> PackageInfo:
    """The only one of them. Raises UsageError, telling them apart, where there are several."""
    if len(chosen) > 1:
        each = ", ".join(sorted(f"{in_full(package)} ({package.id})" for package in chosen))
        raise UsageError(f"several packages are called {typed}", hint=f"say which, by version or by id: {each}")
    return chosen[0]


def in_full(package: PackageInfo) -> str:
    """``NAME-VERSION``."""
    return "-".join(part for part in (package.name, package.version) if part)
