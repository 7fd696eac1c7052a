"""Network services, their VNFs, and the desired state that the last completed operation left for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from manor.errors import UsageError
from manor.model.desired import DesiredState, desired_from_json
from manor.model.instance import NsInstance, NsState, VnfInstance
from manor.model.notification import ns_identifier, vnf_identifier
from manor.store import notifications, packages, rows
from manor.store.asking import every, first
from manor.store.tables import ACTIVE_STATES, Desired, NsRow, OperationRow, VnfRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "add",
    "all_of",
    "become",
    "desired",
    "elements",
    "get",
    "remove",
    "save",
    "set_nsd",
    "set_parameters",
    "site_spans",
    "vnf_ids",
    "vnfs",
    "wishes",
]

_NS = NsRow.__table__  # type: ignore[attr-defined]
_VNF = VnfRow.__table__  # type: ignore[attr-defined]
_DESIRED = Desired.__table__  # type: ignore[attr-defined]
_OP = OperationRow.__table__  # type: ignore[attr-defined]

# Statements of the hot path, made once: building one costs more than SQLite takes to run it.
_CALLED, _OF = bindparam("called"), bindparam("of_ns")
_GET = select(_NS).where(or_(_NS.c.name == _CALLED, _NS.c.id == _CALLED))
_GET_LOCKED = _GET.with_for_update()
_WRITE = update(_NS).where(_NS.c.id == _OF)
_VNFS = select(_VNF).where(_VNF.c.ns_id == _OF).order_by(_VNF.c.name, _VNF.c.id)
_VNF_IDS = select(_VNF.c.id).where(_VNF.c.ns_id == _OF).order_by(_VNF.c.id)
_GET_DESIRED = select(_DESIRED.c.desired).where(_DESIRED.c.ns_id == _OF)
_GET_WISHES = select(_DESIRED.c.desired["wishes"]).where(_DESIRED.c.ns_id == _OF)
_GET_ELEMENTS = select(_DESIRED.c.desired["elements"]).where(_DESIRED.c.ns_id == _OF)
_DELETE_VNFS = delete(_VNF).where(_VNF.c.ns_id == _OF)
_DELETE_DESIRED = delete(_DESIRED).where(_DESIRED.c.ns_id == _OF)
_INSERT_VNFS, _INSERT_DESIRED = insert(_VNF), insert(_DESIRED)


def add(tx: Connection, ns: NsInstance) -> None:
    """Keep a new service. Raises UsageError where the name (or an id that reads the same) is taken."""
    taken = tx.execute(
        select(_NS.c.name).where(or_(_NS.c.name == ns.name, _NS.c.id == ns.name, _NS.c.name == ns.id))
    ).first()
    error = UsageError(f"a service named {ns.name} is there already", hint="choose another name, or manor ns list")
    if taken is not None:
        raise error
    try:
        tx.execute(insert(_NS).values(rows.ns_values(ns)))
    except IntegrityError as cause:  # another process was quicker
        raise error from cause
    packages.refresh_usage(tx)
    notifications.add(tx, [ns_identifier(ns, created=True)])


def save(tx: Connection, ns: NsInstance) -> None:
    """Write back a service."""
    tx.execute(_WRITE, {**rows.ns_values(ns), "of_ns": ns.id})


def get(tx: Connection, name_or_id: str, *, lock: bool = False) -> NsInstance:
    """A service by name or id; with ``lock`` nobody else writes or forgets it until the transaction ends.

    Raises UsageError where there is none.
    """
    found = first(tx, _GET_LOCKED if lock else _GET, rows.ns_instance, called=name_or_id)
    if found is None:
        raise UsageError(f"there is no service {name_or_id}", hint="manor ns list")
    return found


def all_of(tx: Connection) -> tuple[NsInstance, ...]:
    """Every service by name. For pages of many, see :mod:`manor.store.reading`."""
    return every(tx, select(_NS).order_by(_NS.c.name), rows.ns_instance)


def remove(tx: Connection, ns_id: str) -> None:
    """Forget a service with its VNFs and desired state; its operations stay as history.

    Raises UsageError while one of them has not ended: it would go on making what nobody knows.
    """
    tx.execute(select(_NS.c.id).where(_NS.c.id == ns_id).with_for_update())
    busy = tx.execute(select(_OP.c.id, _OP.c.state).where(_OP.c.ns_id == ns_id, _OP.c.state.in_(ACTIVE_STATES))).first()
    if busy is not None:
        raise UsageError(f"service {ns_id} has operation {busy.id} in {busy.state}", hint=f"manor op show {busy.id}")
    ns = first(tx, select(_NS).where(_NS.c.id == ns_id), rows.ns_instance)
    gone = vnf_ids(tx, ns_id)
    tx.execute(delete(_NS).where(_NS.c.id == ns_id))
    packages.refresh_usage(tx)
    if ns is not None:
        notifications.add(tx, (vnf_identifier(vnf, ns_id, created=False) for vnf in gone))
        notifications.add(tx, [ns_identifier(ns, created=False)])


def vnfs(tx: Connection, ns_id: str) -> tuple[VnfInstance, ...]:
    """The VNFs of a service, by name."""
    return every(tx, _VNFS, rows.vnf_instance, of_ns=ns_id)


def desired(tx: Connection, ns_id: str) -> DesiredState | None:
    """What should be there for a service; None where nothing should."""
    value = tx.execute(_GET_DESIRED, {"of_ns": ns_id}).scalar()
    return desired_from_json(value) if value is not None else None


def wishes(tx: Connection, ns_id: str) -> Mapping[str, Any]:
    """What is wished of a service beside its descriptors, as JSON values; nothing where it does not run."""
    return tx.execute(_GET_WISHES, {"of_ns": ns_id}).scalar() or {}


def elements(tx: Connection, ns_id: str) -> Mapping[str, Mapping[str, str]]:
    """What a service's links, SAPs and paths are in its NSD; nothing where it does not run."""
    return tx.execute(_GET_ELEMENTS, {"of_ns": ns_id}).scalar() or {}


def site_spans(tx: Connection, *, but_ns: str) -> dict[str, Mapping[str, int]]:
    """What the other services hold of the ways between sites, by service; those that hold something."""
    query = select(_DESIRED.c.ns_id, _DESIRED.c.desired["site_spans"]).where(_DESIRED.c.ns_id != but_ns)
    return {ns_id: held for ns_id, held in tx.execute(query) if held}


def set_parameters(tx: Connection, ns_id: str, parameters: Mapping[str, Any]) -> None:
    """Write a service's parameters."""
    tx.execute(_WRITE, {"parameters": dict(parameters), "of_ns": ns_id})


def set_nsd(tx: Connection, ns_id: str, nsd_id: str, package_id: str) -> None:
    """Write which NSD a service is of."""
    tx.execute(update(_NS).where(_NS.c.id == ns_id).values(nsd_id=nsd_id, nsd_package=package_id))
    packages.refresh_usage(tx)


def vnf_ids(tx: Connection, ns_id: str) -> tuple[str, ...]:
    """Ids of the VNFs of a service."""
    return tuple(tx.execute(_VNF_IDS, {"of_ns": ns_id}).scalars())


def become(
    tx: Connection,
    ns_id: str,
    state: NsState,
    desired: Mapping[str, Any] | None,
    vnfs: Sequence[Mapping[str, Any]],
) -> None:
    """Write a service's state, desired state and VNFs, the latter two as the JSON they were kept in.

    Subscribers are told of VNFs that are gone; of those that come they were told with the operation that makes them.
    """
    tx.execute(_WRITE, {"state": str(state), "of_ns": ns_id})
    tx.execute(_DELETE_DESIRED, {"of_ns": ns_id})
    if desired is not None:
        tx.execute(_INSERT_DESIRED, {"ns_id": ns_id, "desired": dict(desired)})
    before = vnf_ids(tx, ns_id)
    tx.execute(_DELETE_VNFS, {"of_ns": ns_id})
    if vnfs:
        tx.execute(_INSERT_VNFS, [dict(vnf) for vnf in vnfs])
    packages.refresh_usage(tx)
    after = {str(vnf["id"]) for vnf in vnfs}
    notifications.add(tx, (vnf_identifier(vnf, ns_id, created=False) for vnf in before if vnf not in after))
