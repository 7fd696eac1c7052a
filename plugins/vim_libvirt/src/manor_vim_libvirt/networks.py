"""Networks: a libvirt network that names the host's integration bridge, and the bridge itself.

The bridge is shared by all links of all installations on the host. It is made when first needed, marked as ours, and
removed with the last of our networks, unless someone else plugged into it.
"""

from __future__ import annotations

from typing import Any

from manor.api import CallContext, NetworkSpec, Observed, Phase, ResourceKind, ResourceRef
from manor.errors import Conflict
from manor_vim_libvirt.link import Link
from manor_vim_libvirt.metadata import Mark, mark_of, parse, read_mark
from manor_vim_libvirt.names import native_prefix, network_uuid
from manor_vim_libvirt.objects_xml import network_xml
from manor_vim_libvirt.ovs import Bridge, Switch

__all__ = ["ensure", "lookup", "marked", "observed", "observed_or_none", "remove"]


def lookup(link: Link, owner: str, key: str) -> Any | None:
    """The network of a key, None where there is none."""
    import libvirt

    try:
        return link.connection().networkLookupByUUIDString(str(network_uuid(owner, key)))
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_NETWORK:
            return None
        raise


def _mark(network: Any) -> Mark | None:
    import libvirt

    try:
        # The inactive XML is the newest definition; the active one is that of the last start.
        text = network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_INVALID_ARG:
            raise
        text = network.XMLDesc(0)  # libvirt's test driver knows one only
    return read_mark(parse(text))


def ensure(link: Link, switch: Switch | None, spec: NetworkSpec, ctx: CallContext) -> Observed:
    """The bridge and the network, both there and active. Any change of the spec is made in place."""
    import libvirt

    with link.locked("bridge", ctx):
        bridge = switch.ensure_bridge(link.config.bridge, spec.owner, ctx) if switch is not None else None
        network = lookup(link, spec.owner, spec.key)
        mark = _mark(network) if network is not None else None
        if network is not None and (mark is None or mark.owner != spec.owner):
            raise Conflict(f"network {spec.key} on host {link.name} is not of {spec.owner}", replace=False)
        if network is None or mark is None or mark.spec_hash != mark_of(spec).spec_hash:
            ctx.check(f"defining network {spec.key}")
            xml = network_xml(spec, link.config.bridge, openvswitch=switch is not None)
            network = link.connection().networkDefineXML(xml)
            redefined = _mark(network)
            if redefined is None or redefined.spec_hash != mark_of(spec).spec_hash:
                _undefine(network)  # libvirt's test driver forgets the new definition of an active network
                network = link.connection().networkDefineXML(xml)
        if not network.isActive():
            ctx.check(f"starting network {spec.key}")
            try:
                network.create()
            except libvirt.libvirtError:
                if not network.isActive():
                    raise
        network.setAutostart(True)
        if switch is not None:
            # Another process that removed what it took for the last network may have taken the bridge meanwhile.
            bridge = switch.ensure_bridge(link.config.bridge, spec.owner, ctx)
    return observed(link, network, mark_of(spec), bridge=bridge, has_switch=switch is not None)


def observed(link: Link, network: Any, mark: Mark, *, bridge: Bridge | None, has_switch: bool) -> Observed:
    """A network as it is."""
    detail: dict[str, Any] = {"name": network.name(), "bridge": link.config.bridge}
    phase = Phase.ACTIVE
    if not network.isActive():
        phase, detail["reason"] = Phase.STOPPED, "the libvirt network is not active"
    elif has_switch and bridge is None:
        phase, detail["reason"] = Phase.DEGRADED, f"bridge {link.config.bridge} is gone"
    if bridge is not None:
        detail["datapath"] = bridge.datapath or "system"
    return Observed(
        ref=ResourceRef(kind=ResourceKind.NETWORK, key=mark.key, host=link.name),
        owner=mark.owner,
        native_id=network.UUIDString(),
        phase=phase,
        spec_hash=mark.spec_hash,
        detail=detail,
    )


def observed_or_none(
    link: Link, network: Any, mark: Mark, *, bridge: Bridge | None, has_switch: bool
) -> Observed | None:
    """A network as it is; None where it was removed since it was listed."""
    import libvirt

    try:
        return observed(link, network, mark, bridge=bridge, has_switch=has_switch)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_NETWORK:
            return None
        raise


def marked(link: Link, owner: str) -> list[tuple[Any, Mark]]:
    """The owner's networks on this host; others are not even asked for their XML."""
    import libvirt

    prefix = native_prefix(owner)
    found = []
    for network in link.connection().listAllNetworks(0):
        if not network.name().startswith(prefix):
            continue
        try:
            mark = _mark(network)
        except libvirt.libvirtError:
            continue  # removed since it was listed
        if mark is not None and mark.owner == owner:
            found.append((network, mark))
    return found


def remove(link: Link, switch: Switch | None, owner: str, key: str, ctx: CallContext) -> None:
    """Remove the network, and the bridge if it was the last that needed it."""
    with link.locked("bridge", ctx):
        network = lookup(link, owner, key)
        mark = _mark(network) if network is not None else None
        if network is not None and mark is not None and mark.owner == owner:
            ctx.check(f"removing network {key}")
            _undefine(network)
        if switch is not None and not _any_of_manor(link):
            switch.remove_bridge(link.config.bridge, owner, ctx)
            if _any_of_manor(link):
                switch.ensure_bridge(link.config.bridge, owner, ctx)  # another process has just made one


def _any_of_manor(link: Link) -> bool:
    """Whether any installation's network is left on the host: all of them share the bridge."""
    return any(network.name().startswith("manor-") for network in link.connection().listAllNetworks(0))


def _undefine(network: Any) -> None:
    import libvirt

    for step in (network.destroy, network.undefine):
        try:
            step()
        except libvirt.libvirtError as error:
            gone = (libvirt.VIR_ERR_NO_NETWORK, libvirt.VIR_ERR_OPERATION_INVALID)
            if error.get_error_code() not in gone:
                raise
