"""Nodes: a libvirt domain with its seed and its console log.

The order of effects makes every crash visible: the seed is whole before the domain is defined, and the domain is
defined (with our mark, so observed) before it is started. A domain that was wanted started and never was is PENDING.
What is removed goes the other way: its definition is the last to go.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Collection, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from manor.api import CallContext, NodeSpec, Observed, Phase, PowerState, ResourceKind, ResourceRef
from manor.errors import Conflict, NotFound
from manor_vim_libvirt import networks
from manor_vim_libvirt.domain_xml import NodeFiles, Target, domain_xml
from manor_vim_libvirt.facts import Facts
from manor_vim_libvirt.link import Link
from manor_vim_libvirt.metadata import Mark, changed_fields, mark_of, parse, read_mark
from manor_vim_libvirt.names import READY, Sort, StoredName, domain_uuid, interface_id, native_prefix
from manor_vim_libvirt.node_state import node_phase
from manor_vim_libvirt.ovs import Switch
from manor_vim_libvirt.pool import Pool
from manor_vim_libvirt.room import choose_pinning
from manor_vim_libvirt.seed import seed_files, seed_image

__all__ = ["booting_from", "console_name", "ensure", "lookup", "marked", "observed", "observed_or_none", "remove"]

_PATIENCE_S, _ASK_AGAIN_S = 30.0, 2.0
_LIVE_FIELDS = frozenset({"power", "name", "labels"})
"""Fields that change on a running machine."""
_STOPPED_FIELDS = _LIVE_FIELDS | {"vcpus", "memory_bytes", "cpu", "guest_agent", "watchdog", "ports", "boot"}
"""Fields that change on a machine that is off, without losing anything of it."""


def lookup(link: Link, owner: str, key: str) -> Any | None:
    """The domain of a node, None where there is none."""
    import libvirt

    try:
        return link.connection().lookupByUUIDString(str(domain_uuid(owner, key)))
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


def _read(domain: Any) -> Any:
    import libvirt

    return parse(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))


def ensure(
    link: Link, pool: Pool, spec: NodeSpec, ctx: CallContext, *, facts: Facts, target: Target, switch: Switch | None
) -> Observed:
    """Make the node as specified and give it the wanted power state."""
    domain = lookup(link, spec.owner, spec.key)
    mark = mark_of(spec)
    make = _Maker(link=link, pool=pool, spec=spec, ctx=ctx, facts=facts, target=target)
    if domain is None:
        domain = make.define(None)
    else:
        root = _read(domain)
        old = read_mark(root)
        if old is None or old.owner != spec.owner or old.key != spec.key:
            raise Conflict(f"node {spec.key}: domain {domain.name()} on host {link.name} is not ours", replace=False)
        if old.spec_hash != mark.spec_hash:
            _refuse_change(link, spec, changed_fields(old, mark), is_active=bool(domain.isActive()))
        # Of one that is off a removal that was cut short may have taken files already.
        if old.spec_hash != mark.spec_hash or not domain.isPersistent() or not domain.isActive():
            domain = make.define(root)
        devices = [port.device for port in spec.ports]
        if facts.is_qemu and spec.power is PowerState.STARTED and _pulled_out(domain, devices):
            # Given another one while it runs, the guest would not know what it is for.
            ctx.check(f"restarting node {spec.key}, which has lost an interface")
            _destroy(domain)
        _replug(link, spec, domain, switch, ctx)
    _power(link, spec, domain, ctx)
    return observed(link, domain, mark, pool=pool)


def _refuse_change(link: Link, spec: NodeSpec, fields: tuple[str, ...], *, is_active: bool) -> None:
    allowed = _LIVE_FIELDS if is_active else _STOPPED_FIELDS
    refused = tuple(name for name in fields if name not in allowed)
    if refused:
        raise Conflict(
            f"node {spec.key} on host {link.name} cannot change {', '.join(refused)} in place",
            fields=refused,
            hint="stop it first, or let it be replaced" if set(refused) <= _STOPPED_FIELDS else "let it be replaced",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Maker:
    """What it takes to define a domain."""

    link: Link
    pool: Pool
    spec: NodeSpec
    ctx: CallContext
    facts: Facts
    target: Target

    def define(self, current: Any | None) -> Any:
        """Define the domain, with its seed in place before; ``current`` is the XML that stands now."""
        link, spec = self.link, self.spec
        for network in {port.network for port in spec.ports}:
            if networks.lookup(link, spec.owner, network) is None:
                raise NotFound(f"network {network} of node {spec.key} is not on host {link.name}", hint="plan again")
        names = self.pool.names()
        files = NodeFiles(
            kernel=self._image(names, spec.boot.kernel),
            initramfs=self._image(names, spec.boot.initramfs),
            disks=tuple(self._volume(names, disk.volume) for disk in spec.disks),
            seed=self._seed(names, current),
            console=self.pool.path_of(console_name(spec.owner, spec.key)) if self.facts.is_qemu else "",
        )
        # Until the domain is defined, nobody else sees which CPUs it takes.
        with link.locked("cpus", self.ctx) if spec.cpu.dedicated else nullcontext():
            pinning = choose_pinning(link, spec, self.facts)
            xml = domain_xml(spec, self.target, files, pinning)
            self.ctx.check(f"defining node {spec.key}")
            return link.connection().defineXML(xml)

    def _seed(self, names: list[StoredName], current: Any | None) -> str:
        """Path of the seed, which is whole when this returns. One that is there and in the standing XML is already."""
        spec = self.spec
        if not self.facts.is_qemu or not (spec.seed or spec.user_data):
            return ""
        content = seed_files(spec)
        digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
        name = StoredName.of(Sort.SEED, spec.owner, spec.key, digest)
        path = self.pool.path_of(name)
        standing = current.findall("devices/disk/source") if current is not None else ()
        if name in names and any(source.get("file") == path for source in standing):
            return path
        # The name is of what was asked for, so that a secret neither shows in it nor changes it.
        image = seed_image({**content, "user-data": self.ctx.reveal(content["user-data"])})
        self.pool.upload(name, iter([image]), len(image), ctx=self.ctx, replaces=name in names)
        return path

    def _image(self, names: list[StoredName], key: str) -> str:
        if not key:
            return ""
        image = self.pool.select(Sort.IMAGE, key, names)
        if image is None or not any(name.sort in READY and name.key == key for name in names):
            raise NotFound(f"image {key} of node {self.spec.key} is not on host {self.link.name}", hint="plan again")
        return self.pool.path_of(image)

    def _volume(self, names: list[StoredName], key: str) -> str:
        volume = self.pool.select(Sort.VOLUME, key, names)
        if volume is None:
            raise NotFound(f"volume {key} of node {self.spec.key} is not on host {self.link.name}", hint="plan again")
        return self.pool.path_of(volume)


def console_name(owner: str, key: str) -> StoredName:
    """The file that virtlogd writes a node's console to."""
    return StoredName.of(Sort.CONSOLE, owner, key, "0" * 16)


def _pulled_out(domain: Any, devices: Collection[str]) -> bool:
    """Whether a running machine is without one of the interfaces that its definition has."""
    if not domain.isActive():
        return False
    there = {target.get("dev") for target in parse(domain.XMLDesc(0)).findall("devices/interface/target")}
    return not there.issuperset(devices)


def _replug(link: Link, spec: NodeSpec, domain: Any, switch: Switch | None, ctx: CallContext) -> None:
    """Plug a running machine's interfaces in again where the switch has lost them."""
    if switch is None or not spec.ports or not domain.isActive():
        return
    plugged = switch.plugged(ctx)
    for port in spec.ports:
        if port.device not in plugged:
            ctx.check(f"plugging {port.device}")
            ids = {
                "iface-id": str(interface_id(spec.owner, port.key)),
                "attached-mac": port.mac,
                "vm-id": domain.UUIDString(),
                "iface-status": "active",
            }
            switch.plug(link.config.bridge, port.device, ids, ctx)


def _power(link: Link, spec: NodeSpec, domain: Any, ctx: CallContext) -> None:
    import libvirt

    state, _ = domain.state()
    is_on = state not in (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_CRASHED)
    if spec.power is PowerState.STOPPED:
        if is_on:
            _shut_down(link, spec.key, domain, ctx)
        return
    ctx.check(f"starting node {spec.key}")
    try:
        if not is_on:
            domain.create()
        elif state == libvirt.VIR_DOMAIN_PAUSED:
            domain.resume()
        elif state == libvirt.VIR_DOMAIN_PMSUSPENDED:
            domain.pMWakeup(0)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID or not domain.isActive():
            raise  # else another call has just started it


def _shut_down(link: Link, key: str, domain: Any, ctx: CallContext) -> None:
    """Ask the guest to shut down, for at most half of the time left and the call's patience (30 s); then turn it off.

    Asked again and again, because a guest that is still booting does not hear it.
    """
    import libvirt

    ctx.check(f"stopping node {key}")
    began_s = time.time()
    patience_s = _PATIENCE_S if ctx.patience_s is None else ctx.patience_s
    patience = time.monotonic() + min(patience_s, ctx.remaining_s() / 2)
    while (left_s := patience - time.monotonic()) > 0:
        try:
            domain.shutdown()  # by the agent where there is one, else by the power button
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID and not domain.isActive():
                return
        if link.events.wait_stopped(domain.UUIDString(), min(_ASK_AGAIN_S, left_s), since_s=began_s) is not None:
            return
    _destroy(domain)


def _destroy(domain: Any) -> None:
    import libvirt

    try:
        domain.destroy()
    except libvirt.libvirtError as error:
        gone = (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_DOMAIN)
        if error.get_error_code() not in gone:
            raise


def observed(link: Link, domain: Any, mark: Mark, *, pool: Pool, plugged: set[str] | None = None) -> Observed:
    """A node as it is. ``plugged`` (devices that the switch has) lets a lost port show as DEGRADED."""
    state, reason = domain.state()
    phase, why = node_phase(state, reason, wanted=mark.power)
    detail: dict[str, Any] = {"name": domain.name(), "ports": [dict(port) for port in mark.ports]}
    if phase is Phase.ACTIVE and not domain.isPersistent():
        phase, why = Phase.DEGRADED, "its definition is not kept: it would be gone once it is off"
    lost = [port["device"] for port in mark.ports if plugged is not None and port["device"] not in plugged]
    if phase is Phase.ACTIVE and lost:
        phase, why = Phase.DEGRADED, f"not plugged into the switch: {', '.join(lost)}"
        if not _pulled_out(domain, [port["device"] for port in mark.ports]):
            detail["unplugged"] = lost
    if why:
        detail["reason"] = why
    last = link.events.recent(domain.UUIDString())
    if last:
        detail["last_event"] = f"{last[-1].event} {last[-1].detail}".strip()
        detail["last_event_time_s"] = last[-1].time_s
    detail["console_log"] = pool.path_of(console_name(mark.owner, mark.key))
    return Observed(
        ref=ResourceRef(kind=ResourceKind.NODE, key=mark.key, host=link.name),
        owner=mark.owner,
        native_id=domain.UUIDString(),
        phase=phase,
        spec_hash=mark.spec_hash,
        addresses=tuple(address for port in mark.ports for address in port.get("addresses", "").split()),
        detail=detail,
    )


def observed_or_none(link: Link, domain: Any, mark: Mark, *, pool: Pool, plugged: set[str] | None) -> Observed | None:
    """A node as it is; None where it was removed since it was listed."""
    import libvirt

    try:
        return observed(link, domain, mark, pool=pool, plugged=plugged)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


def marked(link: Link, owner: str, keys: frozenset[str] | None) -> Iterator[tuple[Any, Mark]]:
    """The owner's domains; one call a domain, and none for foreign ones. ``keys`` looks up those only."""
    import libvirt

    if keys is not None:
        candidates = [domain for key in sorted(keys) if (domain := lookup(link, owner, key)) is not None]
    else:
        prefix = native_prefix(owner)
        candidates = [domain for domain in link.connection().listAllDomains(0) if domain.name().startswith(prefix)]
    for domain in candidates:
        try:
            mark = read_mark(_read(domain))
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                continue  # removed since it was listed
            raise
        if mark is not None and mark.owner == owner:
            yield domain, mark


def booting_from(link: Link, owner: str, path: str) -> list[str]:
    """Keys of the owner's machines that start from the file ``path`` or have it as a disk."""
    import libvirt

    keys = []
    for domain, mark in marked(link, owner, None):
        try:
            root = _read(domain)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                continue  # removed since it was listed
            raise
        files = {root.findtext("os/kernel"), root.findtext("os/initrd")}
        if path in files | {source.get("file") for source in root.findall("devices/disk/source")}:
            keys.append(mark.key)
    return keys


def remove(link: Link, pool: Pool, owner: str, key: str, ctx: CallContext, *, switch: Switch | None) -> None:
    """Turn the node off and remove all that was made for it; a crashed one's ports and files too."""
    domain = lookup(link, owner, key)
    mark = read_mark(_read(domain)) if domain is not None else None
    ours = domain if mark is not None and mark.owner == owner else None
    if ours is not None:
        ctx.check(f"removing node {key}")
        if ctx.patience_s and ours.isActive():
            _shut_down(link, key, ours, ctx)  # a graceful terminate: only where it is asked for
        _destroy(ours)
    if switch is not None:
        switch.unplug(str(domain_uuid(owner, key)), ctx)
    pool.refresh()  # console logs, rotated ones too, are not libvirt's doing
    sorts = (Sort.SEED, Sort.CONSOLE)
    pool.delete(name for name in pool.names() if name.sort in sorts and (name.key == key or _is_rotated(name, key)))
    if ours is not None:
        _undefine(link, ours)


def _undefine(link: Link, domain: Any) -> None:
    """Forget the definition, last of all: until then it shows that something may be left."""
    import libvirt

    flags = (
        libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
        | libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    )
    try:
        domain.undefineFlags(flags if link.connection().getType() == "QEMU" else 0)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise


def _is_rotated(name: StoredName, key: str) -> bool:
    """virtlogd appends ``.0``, ``.1`` … to a full log."""
    stem, _, number = name.key.rpartition(".")
    return name.sort is Sort.CONSOLE and stem == key and number.isdigit()
