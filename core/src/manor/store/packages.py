"""On-boarded packages: what is known of each, its descriptor as JSON and the findings of its reading."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import String, bindparam, case, cast, delete, insert, or_, select, text, update
from sqlalchemy.exc import IntegrityError

from manor.api.records import Finding, Severity
from manor.errors import UsageError
from manor.model.instance import PackageInfo, PackageKind, UsageState
from manor.model.notification import package_changed
from manor.store import notifications, rows
from manor.store.asking import every, first
from manor.store.called import meant, the_one
from manor.store.database import KEEP_FACT, AtEnd, at_end, take_turns
from manor.store.tables import ACTIVE_STATES, Desired, Meta, NsRow, OperationRow, PackageRow, VnfRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "add",
    "all_of",
    "allow_playbooks",
    "by_descriptor",
    "descriptor",
    "findings",
    "get",
    "playbooks_allowed",
    "refresh_usage",
    "remove",
    "save",
    "used_by",
]

_T = PackageRow.__table__  # type: ignore[attr-defined]
_NS = NsRow.__table__  # type: ignore[attr-defined]
_VNF = VnfRow.__table__  # type: ignore[attr-defined]
_DESIRED = Desired.__table__  # type: ignore[attr-defined]
_OP = OperationRow.__table__  # type: ignore[attr-defined]
_META = Meta.__table__  # type: ignore[attr-defined]
_PLAYBOOKS = "playbooks_allowed"
_ALONE = "manor-packages"
"""What to hold while packages' states and uses are changed."""
_INFO = [column for column in _T.c if column.name not in ("descriptor", "findings")]

# Statements of the hot path, made once: building one costs more than SQLite takes to run it.
_CALLED, _KIND = bindparam("called"), bindparam("of_kind")
_GET = select(*_INFO).where(or_(_T.c.id == _CALLED, _T.c.descriptor_id == _CALLED, _T.c.name == _CALLED))
_GET_OF_KIND = _GET.where(_T.c.kind == _KIND)
_BY_DESCRIPTOR = select(*_INFO).where(_T.c.kind == _KIND, _T.c.descriptor_id == _CALLED)
_DESCRIPTOR = select(_T.c.descriptor).where(_T.c.id == _CALLED)
_SERVICES = select(_NS.c.id).where(_NS.c.nsd_package == _T.c.id).exists()
_INSTANCES = select(_VNF.c.id).where(_VNF.c.vnfd_id == _T.c.descriptor_id).exists()
_IN_USE = case((_T.c.kind == str(PackageKind.NS), _SERVICES), else_=_INSTANCES)
_USAGE = case((_IN_USE, str(UsageState.IN_USE)), else_=str(UsageState.NOT_IN_USE))
_COUNT_USES = update(_T).where(_T.c.usage_state != _USAGE).values(usage_state=_USAGE)


def add(
    tx: Connection, package: PackageInfo, *, descriptor: Mapping[str, Any], findings: Sequence[Finding] = ()
) -> None:
    """Keep a package. Raises UsageError where its descriptor is on-boarded already."""
    known = by_descriptor(tx, package.kind, package.descriptor_id) if package.descriptor_id else None
    if known is not None:
        raise UsageError(
            f"{package.kind} descriptor {package.descriptor_id} is on-boarded already, as {known.name} ({known.id})",
            hint=f"manor package delete {known.id}",
        )
    values = {**rows.package_values(package), "descriptor": dict(descriptor)}
    try:
        tx.execute(insert(_T).values(**values, findings=[asdict(item) for item in findings]))
    except IntegrityError as cause:  # another process was quicker
        raise UsageError(
            f"{package.kind} descriptor {package.descriptor_id} is on-boarded already, just now",
            hint="manor package list",
        ) from cause
    notifications.add(tx, [package_changed(package, "onboarded")])


def save(tx: Connection, package: PackageInfo) -> None:
    """Write back a package's states and names, read with ``hold``."""
    take_turns(tx, _ALONE)
    tx.execute(update(_T).where(_T.c.id == package.id).values(rows.package_values(package)))
    notifications.add(tx, [package_changed(package, "changed")])


def by_descriptor(tx: Connection, kind: PackageKind, descriptor_id: str) -> PackageInfo | None:
    """The package with this descriptor id, or None."""
    return first(tx, _BY_DESCRIPTOR, rows.package, of_kind=str(kind), called=descriptor_id)


def get(tx: Connection, name_or_id: str, *, kind: PackageKind | None = None, hold: bool = False) -> PackageInfo:
    """A package by what it is called (:func:`~manor.store.called.meant`); with ``hold`` nobody else lets go of one, or
    begins to use one, until the transaction ends.

    Raises UsageError where none or several fit.
    """
    if hold:
        take_turns(tx, _ALONE)
    if kind is None:
        found = every(tx, _GET, rows.package, called=name_or_id)
    else:
        found = every(tx, _GET_OF_KIND, rows.package, called=name_or_id, of_kind=str(kind))
    chosen = meant(found or all_of(tx, kind), name_or_id)
    if not chosen:
        what = {PackageKind.NS: "NS package or NSD", PackageKind.VNF: "VNF package or VNFD"}.get(kind, "package")
        raise UsageError(f"no {what} is called '{name_or_id}'", hint="see them: manor package list")
    return the_one(chosen, name_or_id)


def all_of(tx: Connection, kind: PackageKind | None = None) -> tuple[PackageInfo, ...]:
    """Every package, or every one of a kind, by name."""
    query = select(*_INFO).order_by(_T.c.name, _T.c.id)
    if kind is not None:
        query = query.where(_T.c.kind == str(kind))
    return every(tx, query, rows.package)


def descriptor(tx: Connection, package_id: str) -> Mapping[str, Any]:
    """The descriptor as JSON values. Raises UsageError where there is no such package."""
    value = tx.execute(_DESCRIPTOR, {"called": package_id}).scalar()
    if value is None:
        raise UsageError(f"there is no package {package_id}", hint="manor package list")
    return value  # type: ignore[no-any-return]


def findings(tx: Connection, package_id: str) -> tuple[Finding, ...]:
    """What was found when the package was read."""
    value = tx.execute(select(_T.c.findings).where(_T.c.id == package_id)).scalar() or []
    return tuple(Finding(**{**item, "severity": Severity(item["severity"])}) for item in value)


def used_by(tx: Connection, package: PackageInfo) -> tuple[str, ...]:
    """Names of the services that use a package (NSD or VNF) or whose unfinished operation needs it, in order."""
    if package.kind is PackageKind.NS:
        return _services_of(tx, _nesting(tx, package))
    query = select(_NS.c.name).join(_VNF, _VNF.c.ns_id == _NS.c.id).where(_VNF.c.vnfd_id == package.descriptor_id)
    unfinished = select(_OP.c.ns_name, _OP.c.target).where(_OP.c.state.in_(ACTIVE_STATES))
    needing = {
        name
        for name, target in tx.execute(unfinished)
        if any(vnf["vnfd_id"] == package.descriptor_id for vnf in target.get("vnfs", ()))
    }
    return tuple(sorted(needing.union(tx.execute(query).scalars())))


def _services_of(tx: Connection, nsd_packages: Collection[str]) -> tuple[str, ...]:
    """Names of the services that are of one of these NSDs, or become it."""
    users = set(tx.execute(select(_NS.c.name).where(_NS.c.nsd_package.in_(nsd_packages))).scalars())
    nsd_ids = set(tx.execute(select(_T.c.descriptor_id).where(_T.c.id.in_(nsd_packages))).scalars())
    # Most services nest nothing beside their NSD: a look at the text spares reading all that they desire.
    nesting = cast(_DESIRED.c.desired, String).contains('"nsd_id"')
    desired = select(_NS.c.name, _DESIRED.c.desired).join(_DESIRED, _DESIRED.c.ns_id == _NS.c.id).where(nesting)
    users |= {name for name, state in tx.execute(desired) if _nested_since(state) & nsd_ids}
    unfinished = select(_OP.c.ns_name, _OP.c.target).where(_OP.c.state.in_(ACTIVE_STATES))
    users |= {
        name
        for name, target in tx.execute(unfinished)
        if (target.get("nsd") or ("", ""))[1] in nsd_packages or _nested_since(target.get("desired") or {}) & nsd_ids
    }
    return tuple(sorted(users))


def _nested_since(desired: Mapping[str, Any]) -> set[str]:
    """Ids of the NSDs that an operator nested in a service beside those of its NSD."""
    amendment = desired.get("wishes", {}).get("amendment", {})
    return {part["nsd_id"] for part in amendment.get("ns_profiles", ())}


def _nesting(tx: Connection, package: PackageInfo) -> frozenset[str]:
    """Ids of this NSD's package and of those whose NSDs nest it, at whatever depth: all of them are read from it."""
    rows_ = tx.execute(select(_T.c.id, _T.c.descriptor_id, _T.c.descriptor).where(_T.c.kind == str(PackageKind.NS)))
    nested = {
        (package_id, nsd_id): {part["nsd_id"] for df in nsd.get("flavours", ()) for part in df.get("ns_profiles", ())}
        for package_id, nsd_id, nsd in rows_
    }
    found, nsd_ids = {package.id}, {package.descriptor_id}
    while more := {one for one, parts in nested.items() if one[0] not in found and parts & nsd_ids}:
        found |= {package_id for package_id, _ in more}
        nsd_ids |= {nsd_id for _, nsd_id in more}
    return frozenset(found)


def refresh_usage(tx: Connection) -> None:
    """Have each package's usageState written anew when the transaction ends.

    An NSD is in use by services made from it, a VNFD by VNF instances.
    """
    at_end(tx, AtEnd.COUNT_USES, _count_uses)


def _count_uses(tx: Connection) -> None:
    take_turns(tx, _ALONE)  # or two that change the uses of one package each count without the other
    tx.execute(_COUNT_USES)


def playbooks_allowed(tx: Connection) -> frozenset[str]:
    """Contents (sha256) of the packages whose playbooks may run on this host."""
    value = tx.execute(select(_META.c.value).where(_META.c.key == _PLAYBOOKS)).scalar()
    return frozenset(json.loads(value)) if value else frozenset()


def allow_playbooks(tx: Connection, sha256: str, *, allowed: bool) -> None:
    """Allow a package's content to run playbooks on this host, or no more."""
    take_turns(tx, _ALONE)
    now = playbooks_allowed(tx)
    value = json.dumps(sorted(now | {sha256} if allowed else now - {sha256}))
    tx.execute(text(KEEP_FACT), {"key": _PLAYBOOKS, "value": value})


def remove(tx: Connection, package_id: str) -> None:
    """Forget a package. Whether it may be deleted is the caller's question (:func:`used_by`)."""
    take_turns(tx, _ALONE)
    package = first(tx, select(*_INFO).where(_T.c.id == package_id), rows.package)
    tx.execute(delete(_T).where(_T.c.id == package_id))
    if package is not None:
        notifications.add(tx, [package_changed(package, "deleted")])
