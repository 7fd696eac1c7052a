"""What became of a VNF's resources in an operation, read off its own steps, by ETSI's names (SOL003 §5.5.3). Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from manor.api.plan import Step, Undo, Verb
from manor.api.resources import ResourceKind
from manor.model.instance import StepRecord, StepState

__all__ = ["CHANGES", "changed_ext_connectivity", "resource_changes", "stands", "vnf_of"]

CHANGES = (Verb.ENSURE, Verb.REMOVE)
"""Verbs that change the world."""


def vnf_of(key: str) -> str | None:
    """Name of the VNF that a resource or check is of; None for what is the service's."""
    parts = key.split("/", 3)
    return parts[2] if len(parts) > 2 and parts[1] == "vnf" else None


def stands(record: StepRecord) -> bool:
    """Whether a step was done, and nothing of that was taken back, as where there is nothing to take back."""
    stays = record.state is StepState.UNDONE and record.step.undo is Undo.NONE and not record.error
    return record.state is StepState.DONE or stays


def resource_changes(own: Sequence[StepRecord]) -> dict[str, list[dict[str, Any]]]:
    """What has become of a VNF's resources so far, and was not taken back; none of them empty."""
    changes = {**_resources(own), "affectedExtLinkPorts": list(_ext_link_ports(own))}
    return {name: changed for name, changed in changes.items() if changed}


def changed_ext_connectivity(own: Sequence[StepRecord]) -> list[dict[str, Any]]:
    """ExtVirtualLinkInfo of the service's links that the VNF's ports came to or left, with those that came."""
    gone, come = _port_changes(own)
    links: dict[str, list[dict[str, Any]]] = {link: [] for (_, link) in (*gone, *come)}
    for (key, link), device in come.items():
        links[link].append({"id": key, "resourceHandle": {"resourceId": device}, "cpInstanceId": key})
    return [
        {"id": link, "resourceHandle": {"resourceId": link}, **({"extLinkPorts": ports} if ports else {})}
        for link, ports in links.items()
    ]


def _is_effective(record: StepRecord) -> bool:
    """Whether it has changed its resource, and that was not taken back."""
    is_half_undone = record.state in (StepState.UNDOING, StepState.UNDO_FAILED)
    return record.step.verb in CHANGES and (is_half_undone or stands(record))


def _changed(records: Collection[StepRecord]) -> str:
    """changeType of what these steps did to one thing: what was removed and made anew is modified."""
    changes = {_change(record.step) for record in records}
    return changes.pop() if len(changes) == 1 else "MODIFIED"


def _change(step: Step) -> str:
    if step.verb is Verb.REMOVE:
        return "REMOVED"
    return "ADDED" if step.change in ("create", "adopt") else "MODIFIED"


def _resources(own: Iterable[StepRecord]) -> dict[str, list[dict[str, Any]]]:
    """affectedVnfcs, affectedVirtualLinks and affectedVirtualStorages, each resource once, in the order of the plan.

    Of links and disks a step does not say which of the descriptor they are.
    """
    by_key: dict[str, list[StepRecord]] = {}
    for record in own:
        if _is_effective(record) and record.step.kind != ResourceKind.SNAPSHOT:
            by_key.setdefault(record.step.key.partition("@")[0], []).append(record)
    found: dict[str, list[dict[str, Any]]] = {}
    for key, records in by_key.items():
        step = records[-1].step
        labels = dict((step.spec or step.before or {}).get("labels", ()))
        head, resource = {
            ResourceKind.NODE: ("affectedVnfcs", "computeResource"),
            ResourceKind.VOLUME: ("affectedVirtualStorages", "storageResource"),
        }.get(ResourceKind(step.kind), ("affectedVirtualLinks", "networkResource"))
        vdu = {"vduId": labels["vdu"]} if "vdu" in labels else {}
        one = {"id": key, **vdu, "changeType": _changed(records), resource: _handle(records)}
        found.setdefault(head, []).append(one)
    return found


def _handle(records: Sequence[StepRecord]) -> dict[str, str]:
    """ResourceHandle: by the id that the VIM gave it, else by the key under which it is found there."""
    step = records[-1].step
    native_id = next((record.native_id for record in reversed(records) if record.native_id), "")
    kind, _, name = step.endpoint.partition(":")
    return {**({"vimConnectionId": name} if kind == "vim" else {}), "resourceId": native_id or step.key}


def _ext_link_ports(own: Iterable[StepRecord]) -> Iterator[dict[str, Any]]:
    """affectedExtLinkPorts: ports that its machines have on the service's virtual links now, and had before."""
    gone, come = _port_changes(own)
    for change, (key, _), device in (
        *(("REMOVED", *port) for port in gone.items()),
        *(("ADDED", *port) for port in come.items()),
    ):
        yield {"id": key, "changeType": change, "extCpInstanceId": key, "resourceHandle": {"resourceId": device}}


def _port_changes(own: Iterable[StepRecord]) -> tuple[dict[tuple[str, str], str], dict[tuple[str, str], str]]:
    """Devices of the ports that went from the service's links, and of those that came, by key and link.

    That a link does without one for a while, as of a machine that is off, changes none.
    """
    now: dict[tuple[str, str], str] = {}
    before: dict[tuple[str, str], str] = {}
    for record in own:
        step = record.step
        is_known = step.before is not None or step.change not in ("update", "repair")  # else nobody says what was
        if step.kind == ResourceKind.NODE and is_known and _is_effective(record):
            now.update(_link_ports(step.spec))
            before.update(_link_ports(step.before))
    gone = {port: device for port, device in before.items() if port not in now}
    come = {port: device for port, device in now.items() if port not in before}
    return gone, come


def _link_ports(node: Mapping[str, Any] | None) -> dict[tuple[str, str], str]:
    """Devices of a machine's ports on the service's links, by key and link."""
    ports = ((port, port["network"].partition("@")[0]) for port in (node or {}).get("ports", ()))
    return {(port["key"], link): port["device"] for port, link in ports if vnf_of(link) is None}
