"""What was asked of a service and of its VNFs, by the names of ETSI's requests: operationParams (SOL005 §6.5.2, SOL003
§5.5.2).

It is written down once, with the operation that is accepted, from what the service was until then and what it is to
become: a number of steps is a difference, and afterwards nobody knows what from. Values are as they were given, so of a
secret there is the name of its file. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from manor.api.plan import OperationKind, Plan, Step, Verb
from manor.api.resources import ResourceKind
from manor.model.instance import NsInstance, VnfInstance
from manor.model.vnfoperation import VnfOperation
from manor.model.vnfresources import vnf_of

__all__ = ["Asked", "asked"]

_DATA: Mapping[VnfOperation, str] = {
    VnfOperation.OPERATE: "operateVnfData",
    VnfOperation.CHANGE_FLAVOUR: "changeVnfFlavourData",
    VnfOperation.CHANGE_EXT_CONN: "changeExtVnfConnectivityData",
    VnfOperation.CHANGE_VNFPKG: "changeVnfPackageData",
    VnfOperation.MODIFY_INFO: "modifyVnfInfoData",
    VnfOperation.CREATE_SNAPSHOT: "createSnapshotData",
    VnfOperation.REVERT_TO_SNAPSHOT: "revertVnfToSnapshotData",
}
"""Attribute of UpdateNsRequest for what is done to VNFs; the snapshots' take one."""
_ELEMENTS: Mapping[str, tuple[str, str, str]] = {
    "ADD_SAP": ("sapds", "addSap", "sapdId"),
    "REMOVE_SAP": ("sapds", "removeSapId", ""),
    "ADD_VNFFG": ("vnffgds", "addVnffg", "vnffgdId"),
    "UPDATE_VNFFG": ("vnffgds", "updateVnffg", "vnffgdId"),
    "REMOVE_VNFFG": ("vnffgds", "removeVnffgId", ""),
    "ADD_NESTED_NS": ("ns_profiles", "addNestedNsData", "nsProfileId"),
    "REMOVE_NESTED_NS": ("ns_profiles", "removeNestedNsId", ""),
    "CREATE_NS_VIRTUAL_LINK": ("virtual_links", "addNsVirtualLinkData", "nsVirtualLinkProfileId"),
    "DELETE_NS_VIRTUAL_LINK": ("virtual_links", "deleteNsVirtualLinkId", ""),
}
"""By updateType: what of an amendment it is about, ETSI's attribute, and in that the name of the element's id."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What an operation starts from and leads to. ``wishes`` are as JSON values, those of before as ``earlier``."""

    plan: Plan
    ns: NsInstance
    wishes: Mapping[str, Any]
    earlier: Mapping[str, Any]
    before: Mapping[str, VnfInstance]
    """The service's VNFs by name."""
    after: Mapping[str, VnfInstance]
    vnfs: Mapping[str, VnfOperation]
    """What it is to each VNF."""
    nsd_id: str = ""
    """Of the NSD that the service is of from then on, where it is another."""

    def said(self, name: str, of: str = "") -> Any:
        """One of the wishes, or what it says of a VNF; None where nothing is said."""
        said = self.wishes.get(name)
        return said.get(of) if of and isinstance(said, Mapping) else said


def asked(it: Asked) -> dict[str, Any]:
    """``operationParams`` of the service's operation, and under ``vnfs`` those of each VNF, its VNFD and profile."""
    nodes: dict[str, list[Step]] = {}
    for step in it.plan.steps:
        if step.kind == ResourceKind.NODE and (of := vnf_of(step.key)) is not None:
            nodes.setdefault(of, []).append(step)
    vnfs = {}
    for name, what in it.vnfs.items():
        vnf = it.after.get(name) or it.before[name]
        params = _given(_of_vnf(it, name, what, nodes.get(name, ())))
        vnfs[name] = _given({"vnfdId": vnf.vnfd_id, "vnfProfileId": vnf.profile_id, "operationParams": params})
    return {"operationParams": _given(_of_ns(it, vnfs)), "vnfs": vnfs}


def _given(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Without what says nothing."""
    return {name: value for name, value in attributes.items() if value not in (None, "", [], {})}


# of one VNF


def _of_vnf(it: Asked, name: str, what: VnfOperation, nodes: Sequence[Step]) -> dict[str, Any]:
    """``nodes`` are the plan's steps for its machines."""
    old, new = it.before.get(name), it.after.get(name)
    match what:
        case VnfOperation.TERMINATE:
            return _patience(it, "terminationType", "gracefulTerminationTimeout")
        case VnfOperation.HEAL:
            anew, keys = set(it.said("recreate") or ()), dict.fromkeys(step.key for step in nodes)
            return {"vnfcInstanceId": [key for key in keys if key in anew], "cause": it.said("cause")}
        case VnfOperation.CREATE_SNAPSHOT | VnfOperation.REVERT_TO_SNAPSHOT:
            return {"vnfSnapshotInfoId": _snapshot(it)}
    if new is None:
        return {}
    level = it.said("vnf_levels", name)
    match what:
        case VnfOperation.INSTANTIATE:
            return {
                "flavourId": new.flavour_id,
                "instantiationLevelId": level,
                "targetScaleLevelInfo": _scale_info(new),
                "extVirtualLinks": _links(nodes),
            }
        case VnfOperation.SCALE:
            were = old.scale_levels if old else {}
            steps = {aspect: to - were.get(aspect, 0) for aspect, to in new.scale_levels.items()}
            aspect, by = next(((aspect, by) for aspect, by in steps.items() if by), ("", 0))
            return {"type": "SCALE_OUT" if by > 0 else "SCALE_IN", "aspectId": aspect, "numberOfSteps": abs(by)}
        case VnfOperation.SCALE_TO_LEVEL:
            to_level = not it.said("scale_levels", name)
            return {"instantiationLevelId": level} if to_level else {"scaleInfo": _scale_info(new)}
        case VnfOperation.CHANGE_FLAVOUR:
            return {"newFlavourId": new.flavour_id, "instantiationLevelId": level}
        case VnfOperation.OPERATE:
            stop = _patience(it, "stopType", "gracefulStopTimeout") if new.vnf_state == "STOPPED" else {}
            return {"changeStateTo": new.vnf_state, **stop}
        case VnfOperation.CHANGE_EXT_CONN:
            return {"extVirtualLinks": _links(nodes)}
        case VnfOperation.CHANGE_VNFPKG:
            return {"vnfdId": new.vnfd_id}
    return _modified(old, new)


def _patience(it: Asked, how: str, timeout: str) -> dict[str, Any]:
    patience_s = it.said("patience_s")
    return {how: "FORCEFUL" if patience_s == 0 else "GRACEFUL", timeout: patience_s or None}


def _scale_info(vnf: VnfInstance) -> list[dict[str, Any]]:
    return [{"aspectId": aspect, "scaleLevel": level} for aspect, level in sorted(vnf.scale_levels.items())]


def _modified(old: VnfInstance | None, new: VnfInstance) -> dict[str, Any]:
    """VnfInfoModifications: what is said of the VNF otherwise than before; null takes an entry of a map away."""
    were = old.information if old else {}
    found: dict[str, Any] = {}
    for name in sorted(were.keys() | new.information.keys()):
        was, now = were.get(name), new.information.get(name)
        if isinstance(was, Mapping) or isinstance(now, Mapping):
            was, now = was or {}, now or {}
            found[name] = {key: now.get(key) for key in sorted(was.keys() | now.keys()) if was.get(key) != now.get(key)}
        elif was != now:
            found[name] = now
    return {**found, "vnfdId": new.vnfd_id if old and old.vnfd_id != new.vnfd_id else ""}


def _links(nodes: Iterable[Step]) -> list[dict[str, Any]]:
    """extVirtualLinks: which of its connection points come to which of the service's links."""
    before: set[tuple[str, str]] = set()
    now: dict[tuple[str, str], None] = {}
    for step in nodes:
        if step.verb in (Verb.ENSURE, Verb.REMOVE):
            before.update(_cpds(step.before))
            now.update(dict.fromkeys(_cpds(step.spec)))
    links: dict[str, list[dict[str, str]]] = {}
    for link, cpd in (one for one in now if one not in before):
        links.setdefault(link, []).append({"cpdId": cpd})
    return [{"id": link, "extCps": cps} for link, cps in links.items()]


def _cpds(node: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    for port in (node or {}).get("ports", ()):
        link = port["network"].partition("@")[0]
        if vnf_of(link) is None:
            yield link, port.get("name", "")


def _snapshot(it: Asked) -> str:
    """Name of the snapshot that comes, is gone back to, or goes."""
    there, were = it.said("snapshots") or {}, it.earlier.get("snapshots") or {}
    used = set((it.said("reverted") or {}).values())
    back = (name for name, one in there.items() if used & {part["spec"]["key"] for part in one["parts"]})
    return next(back, "") or min(there.keys() ^ were.keys(), default="")


# of the service


def _of_ns(it: Asked, vnfs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    def each(*what: VnfOperation) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, is_to in it.vnfs.items():
            if is_to in what:
                yield f"{it.ns.id}/vnf/{name}", vnfs[name].get("operationParams", {})

    match it.plan.operation:
        case OperationKind.INSTANTIATE:
            return {
                "nsFlavourId": it.ns.flavour_id,
                "nsInstantiationLevelId": it.said("level"),
                "additionalParamsForNs": {**it.ns.parameters, **(it.said("parameters") or {})},
            }
        case OperationKind.SCALE:
            scaled = [
                _given({"vnfInstanceId": vnf, **_scale_vnf(params)})
                for vnf, params in each(VnfOperation.SCALE, VnfOperation.SCALE_TO_LEVEL)
            ]
            if scaled:
                return {"scaleType": "SCALE_VNF", "scaleVnfData": scaled}
            return {"scaleType": "SCALE_NS", "scaleNsData": _given(_scale_ns(it, [vnf for vnf, _ in each(*_GOES)]))}
        case OperationKind.HEAL | OperationKind.REPAIR:
            named = [
                _given({"vnfInstanceId": vnf, "cause": it.said("cause")})
                for vnf, params in each(VnfOperation.HEAL)
                if "vnfcInstanceId" in params
            ]
            return {"healVnfData": named} if named else {"healNsData": {"degreeHealing": "HEAL_RESTORE"}}
        case OperationKind.UPDATE | OperationKind.OPERATE:
            kind = "OPERATE_VNF" if it.plan.operation is OperationKind.OPERATE else it.said("update_type") or ""
            data = _updated(it, kind)
            for what, attribute in _DATA.items():
                found = [{"vnfInstanceId": vnf, **params} for vnf, params in each(what) if params]
                data[attribute] = found[:1][0] if found and attribute.endswith("SnapshotData") else found
            if kind == "REMOVE_VNF":
                data["removeVnfInstanceId"] = [vnf for vnf, _ in each(*_GOES)]
            elif kind == "INSTANTIATE_VNF":
                data["instantiateVnfData"] = [_new_vnf(vnf) for name, vnf in it.after.items() if name not in it.before]
            return {"updateType": kind, **data}
        case OperationKind.TERMINATE if it.said("patience_s") is not None:
            return {"terminateVnfData": [{"vnfInstanceId": vnf, **params} for vnf, params in each(*_GOES)]}
    return {}


_GOES = (VnfOperation.TERMINATE,)


def _new_vnf(vnf: VnfInstance) -> dict[str, Any]:
    return {"vnfdId": vnf.vnfd_id, "vnfFlavourId": vnf.flavour_id, "vnfProfileId": vnf.profile_id}


def _scale_vnf(params: Mapping[str, Any]) -> dict[str, Any]:
    """ScaleVnfData, of what is asked of the VNF."""
    if "type" in params:
        steps = {name: value for name, value in params.items() if name != "type"}
        return {"scaleVnfType": params["type"], "scaleByStepData": steps}
    if "scaleInfo" in params:
        return {"scaleVnfType": "SCALE_TO_SCALE_LEVEL(S)", "scaleToLevelData": {"vnfScaleInfo": params["scaleInfo"]}}
    level = params.get("instantiationLevelId", "")
    return {"scaleVnfType": "SCALE_TO_INSTANTIATION_LEVEL", "scaleToLevelData": {"vnfInstantiationLevelId": level}}


def _scale_ns(it: Asked, gone: Sequence[str]) -> dict[str, Any]:
    """ScaleNsData: a level, or levels of aspects, made absolute as they are wanted; else the VNFs that come and go."""
    level, levels = it.said("level"), it.said("ns_scale_levels") or {}
    if level and level != it.earlier.get("level"):
        return {"scaleNsToLevelData": {"nsInstantiationLevel": level}}
    were = it.earlier.get("ns_scale_levels") or {}
    if moved := {aspect: to for aspect, to in levels.items() if were.get(aspect) != to}:
        info = [{"nsScalingAspectId": aspect, "nsScaleLevelId": str(to)} for aspect, to in moved.items()]
        return {"scaleNsToLevelData": {"nsScaleInfo": info}}
    come = [vnf for name, vnf in it.after.items() if name not in it.before]
    added = [{"vnfInstanceId": vnf.id, "vnfProfileId": vnf.profile_id} for vnf in come]
    return {"vnfInstanceToBeAdded": added, "vnfInstanceToBeRemoved": list(gone)}


def _updated(it: Asked, kind: str) -> dict[str, Any]:
    """The data of an update that is about the service's own elements."""
    if kind == "ASSOC_NEW_NSD_VERSION":
        return {"assocNewNsdVersionData": {"newNsdId": it.nsd_id or it.ns.nsd_id}}
    if kind == "DELETE_VNF_SNAPSHOT_INFO":
        return {"deleteVnfSnapshotData": {"vnfSnapshotInfoId": _snapshot(it)}}
    if kind not in _ELEMENTS:
        return {}
    of, attribute, id_name = _ELEMENTS[kind]
    now, before = (_elements(said.get("amendment") or {}, of) for said in (it.wishes, it.earlier))
    changed = [id for id in {**before, **now} if now.get(id) != before.get(id)]
    if of == "vnffgds":
        off, were_off = (list(said.get("chains_off") or ()) for said in (it.wishes, it.earlier))
        changed += [path for path in (*off, *were_off) if (path in off) != (path in were_off)]
    return {attribute: [{id_name: id} for id in changed] if id_name else changed}


def _elements(amendment: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """What was added, by id, and of what was taken out that it is gone."""
    gone = {name.partition("/")[2]: None for name in amendment.get("gone", ()) if name.startswith(f"{kind}/")}
    return {**dict.fromkeys(gone, "gone"), **{one["id"]: one for one in amendment.get(kind, ())}}
