"""From what a person typed to the thing meant, through the quick read-only lists: no SQLModel is loaded for a name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import typer

from manor.cli.names import resolve
from manor.cli.session import Session, default_home
from manor.errors import ManorError, UsageError

if TYPE_CHECKING:
    from manor.model.instance import NsInstance, NsLcmOpOcc, PackageInfo, PackageKind, VnfInstance

__all__ = [
    "complete_ns",
    "complete_operation",
    "complete_package",
    "complete_vnf",
    "find_ns",
    "find_operation",
    "find_package",
    "find_vnf",
    "ns_names",
]

_ALL = 100_000
_OFFERED = 50


def _from(name: str) -> str:
    """The page marker before the first thing of this name."""
    return f"{name}\x1f"


def find_ns(s: Session, typed: str) -> NsInstance:
    """The service with this name, id or unique start of an id."""
    from manor.store import reading

    if typed:  # a whole name is found by the index, however many there are
        first = reading.ns_instances(s.url, limit=1, after=_from(typed)).items
        if first and first[0].name == typed:
            return first[0]
    items = reading.ns_instances(s.url, limit=_ALL).items
    chosen = resolve(typed, ((ns.id, ns.name) for ns in items), what="service", listing="manor ns list")
    return next(ns for ns in items if ns.id == chosen)


def ns_names(s: Session) -> dict[str, str]:
    """Names of the services by their ids."""
    from manor.store import reading

    return {ns.id: ns.name for ns in reading.ns_instances(s.url, limit=_ALL).items}


def descriptor_names(s: Session, kind: PackageKind) -> dict[str, str]:
    """What on-boarded descriptors of a kind are called, with their versions, by their ids."""
    from manor.store import called, reading

    items = reading.packages(s.url, limit=_ALL).items
    return {package.descriptor_id: called.in_full(package) for package in items if package.kind is kind}


def find_vnf(s: Session, typed: str) -> VnfInstance:
    """The VNF with this id or name, or given as ``<service>/<VNF>``."""
    from manor.store import reading

    service, _, name = typed.partition("/")
    if name and any(service in (ns.id, ns.name) for ns in reading.ns_instances(s.url, limit=_ALL).items):
        ns = find_ns(s, service)
        items = reading.vnf_instances(s.url, limit=_ALL, ns_id=ns.id).items
        name = name.removeprefix("vnf/")
        listing = f"manor vnf list {ns.name}"
    else:
        items = reading.vnf_instances(s.url, limit=_ALL).items
        name, listing = typed, "manor vnf list"
    chosen = resolve(name, ((vnf.id, vnf.name) for vnf in items), what="VNF", listing=listing)
    return next(vnf for vnf in items if vnf.id == chosen)


def find_package(s: Session, typed: str) -> PackageInfo:
    """The package with this id or the start of it, descriptor id, name or ``NAME-VERSION``."""
    from manor.store import called, reading

    items = reading.packages(s.url, limit=_ALL).items
    if found := called.meant(items, typed):
        return called.the_one(found, typed)
    pairs = ((package.id, package.name) for package in items)
    chosen = resolve(typed, pairs, what="package", listing="manor package list")
    return next(package for package in items if package.id == chosen)


def find_operation(s: Session, typed: str) -> NsLcmOpOcc:
    """The operation with this id or unique start of it; a service's name or id means its last operation."""
    from manor.store import reading

    known = reading.operation_names(s.url)  # the newest first, and they are never forgotten
    last = next((id for id, *service in known if typed in service), "")
    if not last or any(typed == id for id, *_ in known):
        last = resolve(typed, ((id, "") for id, *_ in known), what="operation", listing="manor op list")
    found = reading.operation(s.url, last)
    if found is None:
        raise UsageError(f"operation {last} has just been forgotten", hint="manor op list")
    return found


# Shell completion: never an error, never slow, never a heavy import.


def _offer(ctx: typer.Context, read: Callable[[str, str], Iterable[str]], typed: str) -> list[str]:
    root = ctx.find_root().params
    home = root.get("home") or default_home(os.environ)
    try:
        names = read(root.get("db") or str(home / "manor.db"), _from(typed) if typed else "")
        return [name for name in names if name.startswith(typed)]
    except (ManorError, OSError):
        return []


def complete_ns(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of services."""
    from manor.store import reading

    return _offer(
        ctx,
        lambda url, after: (ns.name for ns in reading.ns_instances(url, limit=_OFFERED, after=after).items),
        incomplete,
    )


def complete_package(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of packages."""
    from manor.store import reading

    return _offer(
        ctx,
        lambda url, after: (p.name for p in reading.packages(url, limit=_OFFERED, after=after).items),
        incomplete,
    )


def complete_operation(ctx: typer.Context, incomplete: str) -> list[str]:
    """Ids of the newest operations."""
    from manor.store import reading

    return _offer(ctx, lambda url, _: (op.id for op in reading.operations(url, limit=_OFFERED).items), incomplete)


def complete_vnf(ctx: typer.Context, incomplete: str) -> list[str]:
    """VNFs as ``<service>/<VNF>``."""
    from manor.store import reading

    def read(url: str, _: str) -> Iterable[str]:
        names = {ns.id: ns.name for ns in reading.ns_instances(url, limit=_ALL).items}
        return [f"{names[v.ns_id]}/{v.name}" for v in reading.vnf_instances(url, limit=_ALL).items if v.ns_id in names]

    return _offer(ctx, read, incomplete)


def one_of(typed: str, known: Iterable[str], *, what: str, listing: str) -> str:
    """A name among few, where ids are names."""
    return resolve(typed, ((name, "") for name in known), what=what, listing=listing)


def pairs(given: Iterable[str], *, option: str) -> dict[str, str]:
    """``key=value`` arguments as a mapping. Raises UsageError where one is none."""
    found = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f"{option} takes KEY=VALUE, not '{text}'", hint=f"for example {option} name=value")
        found[key] = value
    return found
