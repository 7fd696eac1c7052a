"""Kernel modules in the order in which they can be inserted.

A kernel package has no ``modules.dep`` before it is installed, so the order comes from the modules themselves: each
names what it needs in its ``.modinfo`` section.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from images.debs import BuildError

__all__ = ["find_modules", "insertion_order", "needs"]

_DEPENDS = re.compile(rb"\0depends=([^\0]*)\0")


def find_modules(tree: Path) -> dict[str, Path]:
    """Every module under ``tree`` by its canonical name (``-`` written ``_``)."""
    return {_canonical(path.stem): path for path in sorted(tree.rglob("*.ko"))}


def needs(module: bytes) -> list[str]:
    """Names of the modules that this one depends on, from its own words."""
    match = _DEPENDS.search(module)
    names = match[1].decode("ascii") if match else ""
    return [_canonical(name) for name in names.split(",") if name]


def insertion_order(wanted: Iterable[str], depends: Mapping[str, Iterable[str]]) -> list[str]:
    """``wanted`` with all they need, each after what it needs. Raises BuildError for one that is not there."""
    order: list[str] = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in order:
            return
        if name not in depends:
            raise BuildError(f"the kernel package has no module {' < '.join((name, *reversed(path)))}")
        if name in path:
            raise BuildError(f"module {name} depends on itself")
        for need in depends[name]:
            visit(need, (*path, name))
        order.append(name)

    for name in wanted:
        visit(_canonical(name), ())
    return order


def _canonical(name: str) -> str:
    return name.replace("-", "_")
