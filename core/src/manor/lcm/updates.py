"""``updateType`` by name: UpdateNsRequest's data to the proposal that it asks for (SOL005 §6.5.2.12).

Attribute names are ETSI's; where ETSI's want ids of things that only an API client has, the operator's names do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from manor.api import PowerState
from manor.errors import UsageError
from manor.lcm import changing, growing, moving, operate, snapshots, updating
from manor.lcm.ns import Proposal
from manor.lcm.runtime import Runtime

__all__ = ["UpdateType", "update_ns"]

_LONGEST_S = 86400.0
"""What a guest may be asked to shut down for, and new machines to stand their gate."""


class UpdateType(StrEnum):
    """The updateTypes that Manor does."""

    ADD_VNF = "ADD_VNF"
    INSTANTIATE_VNF = "INSTANTIATE_VNF"
    REMOVE_VNF = "REMOVE_VNF"
    OPERATE_VNF = "OPERATE_VNF"
    MODIFY_VNF_INFORMATION = "MODIFY_VNF_INFORMATION"
    CHANGE_VNF_DF = "CHANGE_VNF_DF"
    CHANGE_EXTERNAL_VNF_CONNECTIVITY = "CHANGE_EXTERNAL_VNF_CONNECTIVITY"
    CHANGE_VNFPKG = "CHANGE_VNFPKG"
    MOVE_VNF = "MOVE_VNF"
    CREATE_VNF_SNAPSHOT = "CREATE_VNF_SNAPSHOT"
    REVERT_VNF_TO_SNAPSHOT = "REVERT_VNF_TO_SNAPSHOT"
    DELETE_VNF_SNAPSHOT_INFO = "DELETE_VNF_SNAPSHOT_INFO"
    ADD_VNFFG = "ADD_VNFFG"
    REMOVE_VNFFG = "REMOVE_VNFFG"
    UPDATE_VNFFG = "UPDATE_VNFFG"
    ADD_SAP = "ADD_SAP"
    REMOVE_SAP = "REMOVE_SAP"
    CREATE_NS_VIRTUAL_LINK = "CREATE_NS_VIRTUAL_LINK"
    DELETE_NS_VIRTUAL_LINK = "DELETE_NS_VIRTUAL_LINK"
    ADD_NESTED_NS = "ADD_NESTED_NS"
    REMOVE_NESTED_NS = "REMOVE_NESTED_NS"
    ASSOC_NEW_NSD_VERSION = "ASSOC_NEW_NSD_VERSION"


class _Data:
    """The request's data, each attribute taken once; what is left over was not understood."""

    def __init__(self, update_type: str, data: Mapping[str, Any]) -> None:
        self._type = update_type
        self._left = dict(data)
        self._known: list[str] = []

    def one(self, name: str, kind: type[Any] = str, default: Any = None) -> Any:
        """An attribute of this kind. Raises UsageError where it is of another, or is not there and has no default."""
        self._known.append(name)
        value = self._left.pop(name, default)
        if value is None and default is None:
            raise UsageError(f"{self._type} needs {name}", hint=f"--set {name}=VALUE")
        if kind is str and isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, kind):
            wanted = kind.__name__ if isinstance(kind, type) else kind  # a union has no name, and says what it is
            raise UsageError(f"{self._type}: {name} is {value!r}, not of type {wanted}")
        return value

    def maybe(self, name: str, kind: type[Any] = str) -> Any:
        """The attribute, or None where it is not there."""
        if name in self._left:
            return self.one(name, kind)
        self._known.append(name)
        return None

    def number(self, name: str, most: float, default: float | None = None) -> float | None:
        """A number from 0 to ``most``, or the default where it is not there. Raises UsageError."""
        value = self.maybe(name, object)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
            raise UsageError(f"{self._type}: {name} is {value!r}, not a number from 0 to {most:g}")
        return float(value)

    def links(self, name: str, default: Mapping[str, str] | None = None) -> Mapping[str, str]:
        """Link by connection point. Raises UsageError where one is no name."""
        found: Mapping[str, Any] = self.one(name, dict, default)
        for cpd, link in found.items():
            if not isinstance(link, str):
                raise UsageError(f"{self._type}: {name}.{cpd} is {link!r}, not the name of a virtual link")
        return found

    def levels(self, name: str) -> Mapping[str, int]:
        """Scale level by aspect, given so or as ScaleInfo[]; nothing where it is not there. Raises UsageError."""
        given = self.one(name, list | dict, {})  # type: ignore[arg-type]
        try:
            found = {one["aspectId"]: one["scaleLevel"] for one in given} if isinstance(given, list) else given
        except (TypeError, KeyError):
            found = {"": None}
        if not all(isinstance(aspect, str) and type(level) is int for aspect, level in found.items()):
            raise UsageError(f"{self._type}: {name} is {given!r}, not [{{aspectId, scaleLevel}}], nor level by aspect")
        return found

    def end(self) -> None:
        """Raise UsageError where something was not taken."""
        if self._left:
            raise UsageError(
                f"{self._type} has no attribute {next(iter(self._left))}", hint=f"it has: {', '.join(self._known)}"
            )


def update_ns(rt: Runtime, ns: str, update_type: str, data: Mapping[str, Any]) -> Proposal:
    """The proposal of an update of this type. Raises UsageError for what cannot be meant, PlanRefused."""
    try:
        wanted = UpdateType(update_type.upper())
    except ValueError:
        known = ", ".join(UpdateType)
        raise UsageError(f"there is no updateType {update_type}", hint=f"one of: {known}") from None
    given = _Data(wanted, data)
    make = _MAKERS[wanted](given)
    given.end()
    return make(rt, ns)


_Make = Callable[[Runtime, str], Proposal]


def _instantiate_vnf(data: _Data) -> _Make:
    profile = data.one("vnfProfileId")
    vnfd, flavour, level = (data.one(name, default="") for name in ("vnfdId", "vnfFlavourId", "instantiationLevelId"))
    levels, links = data.levels("targetScaleLevelInfo"), data.links("extVirtualLinks", {})
    return lambda rt, ns: growing.add_vnf(
        rt, ns, profile, vnfd=vnfd, flavour=flavour, level=level, levels=levels, links=links
    )


def _remove_vnf(data: _Data) -> _Make:
    vnf, patience_s = data.one("removeVnfInstanceId"), _patience(data, "terminationType", "gracefulTerminationTimeout")
    return lambda rt, ns: growing.remove_vnf(rt, ns, vnf, patience_s=patience_s)


def _operate_vnf(data: _Data) -> _Make:
    vnf, state = data.one("vnfInstanceId"), data.one("changeStateTo").lower()
    if state not in set(PowerState):
        raise UsageError(f"changeStateTo is {state.upper()!r}", hint="STARTED or STOPPED")
    patience_s = _patience(data, "stopType", "gracefulStopTimeout")
    return lambda rt, ns: operate.operate(rt, ns, [vnf], PowerState(state), patience_s=patience_s)


def _patience(data: _Data, how: str, timeout: str) -> float | None:
    kind, seconds = data.maybe(how), data.number(timeout, _LONGEST_S)
    if kind not in (None, "FORCEFUL", "GRACEFUL"):
        raise UsageError(f"{how} is {kind!r}", hint="FORCEFUL or GRACEFUL")
    return 0.0 if kind == "FORCEFUL" else seconds


def _modify(data: _Data) -> _Make:
    vnf, name = data.one("vnfInstanceId"), data.maybe("vnfInstanceName")
    description = data.maybe("vnfInstanceDescription")
    metadata, properties = (data.one(key, dict, {}) for key in ("metadata", "vnfConfigurableProperties"))
    return lambda rt, ns: changing.modify_information(
        rt, ns, vnf, name=name, description=description, metadata=metadata, properties=properties
    )


def _change_df(data: _Data) -> _Make:
    vnf, flavour = data.one("vnfInstanceId"), data.one("newFlavourId")
    level = data.one("instantiationLevelId", default="")
    return lambda rt, ns: changing.change_flavour(rt, ns, vnf, flavour, level=level)


def _change_ext_conn(data: _Data) -> _Make:
    vnf, links = data.one("vnfInstanceId"), data.links("extVirtualLinks")
    return lambda rt, ns: changing.change_ext_conn(rt, ns, vnf, links)


def _change_pkg(data: _Data) -> _Make:
    vnf, vnfd = data.one("vnfInstanceId", str | list), data.one("vnfdId")  # type: ignore[arg-type]
    strategy, fraction = data.one("strategy", default="rolling"), data.number("fraction", 1.0) or 0.0
    gate, soak_s = data.one("gate", list, []), data.number("soakTime", _LONGEST_S) or 0.0
    discard_data = data.one("discardData", bool, False)
    return lambda rt, ns: updating.change_package(
        rt,
        ns,
        vnf,
        vnfd,
        strategy=strategy,
        fraction=fraction,
        gate=[str(condition) for condition in gate],
        soak_s=soak_s,
        discard_data=discard_data,
    )


def _move_vnf(data: _Data) -> _Make:
    vnf, place = data.one("vnfInstanceId"), data.one("targetLocation")
    discard_data = data.one("discardData", bool, False)
    return lambda rt, ns: moving.move(rt, ns, vnf, place, discard_data=discard_data)


def _create_snapshot(data: _Data) -> _Make:
    vnf, name, description = data.one("vnfInstanceId"), data.one("name"), data.one("description", default="")
    return lambda rt, ns: snapshots.create(rt, ns, vnf, name, description=description)


def _revert(data: _Data) -> _Make:
    vnf, name = data.one("vnfInstanceId"), data.one("vnfSnapshotInfoId")
    return lambda rt, ns: snapshots.revert(rt, ns, vnf, name)


def _delete_snapshot(data: _Data) -> _Make:
    name = data.one("vnfSnapshotInfoId")
    return lambda rt, ns: snapshots.delete(rt, ns, name)


def _add_vnffg(data: _Data) -> _Make:
    path = data.one("nfpId", default="")
    if path:
        return lambda rt, ns: updating.update(rt, ns, chains_on=[path])
    return _element(data, "vnffgd", "vnffgds", "ADD_VNFFG")


def _remove_vnffg(data: _Data) -> _Make:
    path = data.one("nfpId", default="")
    if path:
        return lambda rt, ns: updating.update(rt, ns, chains_off=[path])
    vnffg = data.one("removeVnffgId")
    return lambda rt, ns: growing.remove_vnffg(rt, ns, vnffg)


def _add_sap(data: _Data) -> _Make:
    sapd = {"id": data.one("sapdId"), "virtual_link": data.one("virtualLinkId")}
    port = data.one("port", dict, {})
    elements = {"sapds": [sapd], **({"sap": {sapd["id"]: port}} if port else {})}
    return lambda rt, ns: growing.amend(rt, ns, elements, "ADD_SAP")


def _remove_sap(data: _Data) -> _Make:
    sap = data.one("removeSapId")
    return lambda rt, ns: growing.remove_sap(rt, ns, sap)


def _create_link(data: _Data) -> _Make:
    link: dict[str, Any] = {"id": data.one("virtualLinkId"), "mtu": data.one("mtu", int, 0)}
    cidr, gateway = data.one("cidr", default=""), data.one("gateway", default="")
    if cidr:
        link["subnets"] = [{"cidr": cidr, "gateway": gateway}]
    return lambda rt, ns: growing.amend(rt, ns, {"virtual_links": [link]}, "CREATE_NS_VIRTUAL_LINK")


def _delete_link(data: _Data) -> _Make:
    link = data.one("virtualLinkId")
    return lambda rt, ns: growing.delete_link(rt, ns, link)


def _add_nested(data: _Data) -> _Make:
    part, nsd, flavour = data.one("nsProfileId"), data.one("nsdId"), data.one("nsFlavourId", default="")
    links, parameters = data.links("extVirtualLinks", {}), data.one("additionalParams", dict, {})
    return lambda rt, ns: growing.add_nested(rt, ns, part, nsd, flavour=flavour, links=links, parameters=parameters)


def _remove_nested(data: _Data) -> _Make:
    part, patience_s = data.one("removeNestedNsId"), _patience(data, "terminationType", "gracefulTerminationTimeout")
    return lambda rt, ns: growing.remove_nested(rt, ns, part, patience_s=patience_s)


def _associate(data: _Data) -> _Make:
    nsd = data.one("newNsdId")
    return lambda rt, ns: growing.associate_nsd(rt, ns, nsd)


def _element(data: _Data, name: str, kind: str, update_type: str) -> _Make:
    element = data.one(name, dict)
    return lambda rt, ns: growing.amend(rt, ns, {kind: [element]}, update_type)


_MAKERS: Mapping[UpdateType, Callable[[_Data], _Make]] = {
    UpdateType.ADD_VNF: _instantiate_vnf,
    UpdateType.INSTANTIATE_VNF: _instantiate_vnf,
    UpdateType.REMOVE_VNF: _remove_vnf,
    UpdateType.OPERATE_VNF: _operate_vnf,
    UpdateType.MODIFY_VNF_INFORMATION: _modify,
    UpdateType.CHANGE_VNF_DF: _change_df,
    UpdateType.CHANGE_EXTERNAL_VNF_CONNECTIVITY: _change_ext_conn,
    UpdateType.CHANGE_VNFPKG: _change_pkg,
    UpdateType.MOVE_VNF: _move_vnf,
    UpdateType.CREATE_VNF_SNAPSHOT: _create_snapshot,
    UpdateType.REVERT_VNF_TO_SNAPSHOT: _revert,
    UpdateType.DELETE_VNF_SNAPSHOT_INFO: _delete_snapshot,
    UpdateType.ADD_VNFFG: _add_vnffg,
    UpdateType.REMOVE_VNFFG: _remove_vnffg,
    UpdateType.UPDATE_VNFFG: lambda data: _element(data, "vnffgd", "vnffgds", "UPDATE_VNFFG"),
    UpdateType.ADD_SAP: _add_sap,
    UpdateType.REMOVE_SAP: _remove_sap,
    UpdateType.CREATE_NS_VIRTUAL_LINK: _create_link,
    UpdateType.DELETE_NS_VIRTUAL_LINK: _delete_link,
    UpdateType.ADD_NESTED_NS: _add_nested,
    UpdateType.REMOVE_NESTED_NS: _remove_nested,
    UpdateType.ASSOC_NEW_NSD_VERSION: _associate,
}
