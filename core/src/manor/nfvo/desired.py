"""Everything that should exist for one service, from its descriptors and where its VNFCs are placed. Pure."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from manor.api.placement import Placement
from manor.api.plan import Verb
from manor.api.resources import (
    BootSource,
    CpuPolicy,
    Disk,
    Firmware,
    ImageSpec,
    NetworkSpec,
    NodeSpec,
    Port,
    PowerState,
    ResourceKind,
    SdnPort,
    SegmentSpec,
    VolumeSpec,
)
from manor.api.vim import VimCapability
from manor.api.vnfm import BootData, VnfcView, VnfView
from manor.errors import PlanRefused
from manor.model.desired import DesiredCheck, DesiredResource, DesiredState
from manor.nfvo.addresses import allocate, device_name, mac_address
from manor.nfvo.chains import HEADER_BYTES, Path, chains, encapsulated
from manor.nfvo.demand import vnic_type
from manor.nfvo.links import Link, is_frames_only, is_in_any, links_of, turning_links
from manor.nfvo.request import ServiceRequest
from manor.nfvo.saps import attached
from manor.nfvo.starting import proofs_between, starts_after, vnfs_first
from manor.nfvo.storage import ImageUse, StoragePlan, image_key, plan_storage
from manor.nfvo.views import peers, vnf_view
from manor.vnfm.members import Vnf, Vnfc, identity

__all__ = ["BootDataOf", "desired"]

BootDataOf = Callable[[str, VnfView, VnfcView], BootData]
"""(VNF manager's name, VNF, machine) → day-0 data; a pure call into the manager."""


@dataclass(kw_only=True, slots=True)
class _Draft:
    """The state under construction; resources by key so that shared ones stand once."""

    request: ServiceRequest
    placement: Placement
    resources: dict[str, DesiredResource] = field(default_factory=dict)
    checks: list[DesiredCheck] = field(default_factory=list)
    sdn_ports: dict[str, SdnPort] = field(default_factory=dict)
    addresses: dict[str, tuple[str, ...]] = field(default_factory=dict)
    peers: Mapping[str, Any] = field(default_factory=dict)
    """What VNFs may know of each other."""

    def add(self, resource: DesiredResource) -> str:
        self.resources.setdefault(resource.spec.key, resource)
        return resource.spec.key

    stopped: frozenset[str] = frozenset()
    """Keys of the machines that are turned off."""
    turning: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Links whose ports turn from old machines to new ones, with the keys of the VNFs whose health comes first."""

    encapsulated: frozenset[str] = frozenset()
    """Keys of the ports where frames come with a header more."""

    def where(self, vnfc: Vnfc) -> tuple[str, str]:
        return self.placement.hosts[vnfc.key]


def desired(request: ServiceRequest, vnfs: Sequence[Vnf], placement: Placement, boot_data: BootDataOf) -> DesiredState:
    """The desired state. Raises PlanRefused where the descriptors ask for what cannot be had."""
    stopped = frozenset(vnfc.key for vnf in vnfs if vnf.is_stopped for vnfc in vnf.vnfcs)
    draft = _Draft(
        request=request, placement=placement, stopped=stopped, turning=turning_links(request, vnfs),
        encapsulated=encapsulated(request.nsd, vnfs),
    )  # fmt: skip
    links = links_of(request, vnfs)
    for link in links:
        _add_link(draft, link)
    after = vnfs_first(request, vnfs)
    draft.peers = peers(vnfs, draft.addresses)
    for vnf in vnfs:
        _add_vnf(draft, vnf, links, after.get(vnf.key, ()), boot_data)
    for link in links:
        _check_link(draft, link)
    for vim, snapshot in request.snapshots:
        # Of a machine as it was: it depends on nothing that is now.
        draft.add(DesiredResource(spec=snapshot, endpoint=f"vim:{vim}", why=f"snapshot {snapshot.name}"))
    notes = [
        f"no controller: nothing forwards {link.name}" for link in links if not request.sdn and len(link.ports) > 1
    ]
    if request.sdn:
        for path in chains(request, vnfs, draft.sdn_ports, attached(request)):
            _add_chain(draft, path)
            notes += [f"chain {path.spec.name}: {part} is stopped" for part in path.dead]
    elif any(nfp.id not in request.chains_off for graph in request.nsd.vnffgds for nfp in graph.nfpds):
        raise PlanRefused(
            f"service {request.ns.name} has forwarding paths and no SDN controller is registered",
            hint="manor sdn add NAME --driver ryu",
        )
    return DesiredState(
        service_id=request.ns.id,
        service_name=request.ns.name,
        resources=tuple(draft.resources.values()),
        checks=tuple(draft.checks),
        placement={vnfc.key: "/".join(draft.where(vnfc)) for vnf in vnfs for vnfc in vnf.vnfcs},
        notes=(*notes, *(f"{key.split('/', 1)[-1]}: {why}" for key, why in placement.reasons.items())),
    )


def _add_link(draft: _Draft, link: Link) -> None:
    request = draft.request
    with_address = [(port.key, port.cpd.addresses) for _, port in link.ports if not is_frames_only(port)]
    gateways = {subnet.gateway for subnet in link.subnets}
    for sap in link.outside:  # its addresses are somebody's, and given to no machine
        theirs = [address for address in sap.addresses if address not in gateways and is_in_any(address, link.subnets)]
        with_address += [(sap.key, tuple(theirs))] if theirs else []
    held = {key: request.held_addresses.get(identity(key), ()) for key, _ in with_address}
    draft.addresses.update(allocate(link.name, link.subnets, with_address, held))
    networks = []
    for place in dict.fromkeys(draft.where(vnfc) for vnfc, _ in link.ports):
        vim, host = place
        network = NetworkSpec(
            key=_network_key(link.key, place),
            owner=request.owner,
            host=host,
            name=f"{request.ns.name}-{link.name}",
            segment=link.key if request.sdn else "",
            mtu=link.mtu,
            subnets=link.subnets,
        )
        why = f"virtual link {link.name} on {host}"
        networks.append(draft.add(DesiredResource(spec=network, endpoint=f"vim:{vim}", why=why)))
    for vnfc, port in link.ports:
        draft.sdn_ports[port.key] = SdnPort(
            key=port.key,
            host=draft.where(vnfc)[1],
            device=device_name(request.owner, port.key),
            mac=port.cpd.mac or mac_address(request.owner, port.identity),
            addresses=tuple(address.split("/")[0] for address in draft.addresses.get(port.key, ())),
            transparent=is_frames_only(port),
            security=port.cpd.security,
            rate_bps=port.cpd.bitrate_bps,
        )
    if request.sdn:
        # A stopped machine has no port: to forward to it would be to wait for it.
        running = [port for vnfc, port in link.ports if vnfc.key not in draft.stopped]
        segment = SegmentSpec(
            key=link.key,
            owner=request.owner,
            name=link.name,
            ports=(
                *(draft.sdn_ports[port.key] for port in running or [port for _, port in link.ports]),
                *link.outside,
            ),
            subnets=link.subnets,
            mtu=link.mtu,
            rate_bps=link.rate_bps,
        )
        endpoint = f"sdn:{request.sdn}"
        why = f"forwarding of virtual link {link.name}"
        draft.add(
            DesiredResource(
                spec=segment,
                endpoint=endpoint,
                depends_on=(*networks, *draft.turning.get(link.key, ())),
                why=why,
                may_degrade=not running,
            )
        )


def _check_link(draft: _Draft, link: Link) -> None:
    """The segment's rules are only all live once every machine on it has brought its ports."""
    machines = [key for key in dict.fromkeys(vnfc.key for vnfc, _ in link.ports) if key not in draft.stopped]
    if draft.request.sdn and machines:
        draft.checks.append(
            DesiredCheck(
                key=_live(link.key),
                verb=Verb.VERIFY,
                kind=ResourceKind.SEGMENT,
                endpoint=f"sdn:{draft.request.sdn}",
                view={"resource": link.key},
                depends_on=(link.key, *machines),
                why=f"every port of {link.name} is forwarded",
            )
        )


def _live(link_key: str) -> str:
    return f"{link_key}/live"


def _network_key(link_key: str, place: tuple[str, str]) -> str:
    return f"{link_key}@{'/'.join(place)}"


def _add_vnf(draft: _Draft, vnf: Vnf, links: Sequence[Link], after: tuple[str, ...], boot_data: BootDataOf) -> None:
    vnfm = draft.request.vnfms.get(vnf.name, "generic")
    view = vnf_view(draft.request, vnf, draft.addresses, draft.peers)
    mtus = {link.key: link for link in links}
    nodes = []
    for vnfc, vnfc_view in zip(vnf.vnfcs, view.vnfcs, strict=True):
        user_data = boot_data(vnfm, view, vnfc_view).user_data
        nodes.append(_add_node(draft, vnf, vnfc, mtus, user_data, (*after, *starts_after(vnf, vnfc))))
    if vnf.is_stopped:
        return  # nothing runs in it that could be configured or healthy
    guests = {vnfc.key: way for vnfc in vnf.vnfcs if (way := _way_in(draft, vnf, vnfc))}
    draft.checks += proofs_between(vnf, view, f"vnfm:{vnfm}", guests)
    # The VNF's own key always stands for "the VNF is ready", also where its machines' start is all there is to see.
    verify_after = tuple(nodes)
    for verb in (Verb.CONFIGURE, Verb.VERIFY) if view.day1 else (Verb.VERIFY,):
        key = vnf.key if verb is Verb.VERIFY else f"{vnf.key}/day1"
        draft.checks.append(
            DesiredCheck(
                key=key,
                verb=verb,
                endpoint=f"vnfm:{vnfm}",
                view=dataclasses.asdict(view),
                nodes=guests,
                depends_on=verify_after,
                why=f"{vnf.name} is healthy" if verb is Verb.VERIFY else f"day 1 of {vnf.name}",
            )
        )
        verify_after = (*verify_after, key)


def _way_in(draft: _Draft, vnf: Vnf, vnfc: Vnfc) -> str:
    """How to get inside: ``vim:<name>`` for the guest agent, ``ssh://<user>@<address>``, or empty."""
    if vnfc.vdu.guest_agent:
        return f"vim:{draft.where(vnfc)[0]}"
    management = {cpd.int_cpd for cpd in vnf.vnfd.ext_cpds if cpd.management}
    ports = sorted(vnfc.ports, key=lambda port: port.cpd.id not in management)
    addresses = [address for port in ports for address in draft.addresses.get(port.key, ())]
    if not vnfc.vdu.ssh_user or not addresses:
        return ""
    address = addresses[0].partition("/")[0]
    ip = ipaddress.ip_address(address)
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip.is_reserved:
        # The range is the package's word: what it runs inside its machines may not come to run here instead.
        raise PlanRefused(
            f"{vnfc.name}: SSH would go to {address}, which is no machine's own address",
            hint="give the first of its links another cidr in the descriptor",
        )
    if vnf.name in draft.request.switched:
        # Whoever is asked whether the new machine is healthy would be the old one.
        raise PlanRefused(
            f"{vnfc.name} is looked into by SSH at {address}, which is the old machine's until links turn",
            hint="replace one after the other: --strategy rolling",
        )
    return f"ssh://{vnfc.vdu.ssh_user}@{f'[{address}]' if ':' in address else address}"


def _add_node(
    draft: _Draft, vnf: Vnf, vnfc: Vnfc, links: Mapping[str, Link], user_data: str, after: tuple[str, ...]
) -> str:
    request = draft.request
    place = draft.where(vnfc)
    vim, host = place
    storage = plan_storage(request, vnf, vnfc)
    boot = BootSource(
        kernel=_add_image(draft, storage.kernel, place),
        initramfs=_add_image(draft, storage.initramfs, place),
        cmdline=(vnfc.vdu.kernel_cmdline or "console=ttyS0") if storage.kernel else "",
    )
    disks = _add_volumes(draft, vnfc, storage, place)
    ports = tuple(
        Port(
            key=port.key,
            network=_network_key(port.link, place),
            device=draft.sdn_ports[port.key].device,
            mac=draft.sdn_ports[port.key].mac,
            addresses=draft.addresses.get(port.key, ()),
            gateway=next((subnet.gateway for subnet in links[port.link].subnets if subnet.gateway), ""),
            mtu=links[port.link].mtu + (HEADER_BYTES if port.key in draft.encapsulated else 0),
            name=port.cpd.id,
            vnic_type=vnic_type(request, port),
        )
        for port in vnfc.ports
    )
    compute = vnfc.vdu.compute
    node = NodeSpec(
        key=vnfc.key,
        owner=request.owner,
        host=host,
        name=f"{request.ns.name}-{vnfc.name}",
        vcpus=compute.num_virtual_cpu,
        memory_bytes=compute.virtual_mem_size_bytes,
        power=PowerState.STOPPED if vnf.is_stopped else PowerState.STARTED,
        firmware=Firmware.UEFI if vnfc.vdu.firmware == "uefi" else Firmware.BIOS,
        boot=boot,
        disks=disks,
        ports=ports,
        cpu=CpuPolicy(
            model=compute.cpu_model,
            architecture=compute.cpu_architecture,
            dedicated=compute.pinning_policy == "static",
            hugepage_bytes=compute.hugepage_bytes,
            numa_nodes=compute.numa_nodes,
            nested=VimCapability.NESTED in compute.capabilities,
        ),
        user_data=user_data,
        guest_agent=vnfc.vdu.guest_agent,
        watchdog=vnfc.vdu.watchdog,
        labels=(("service", request.ns.name), ("vnf", vnf.name), ("vnfc", vnfc.name), ("vdu", vnfc.vdu.id)),
    )
    links_of = (port.link for port in vnfc.ports if port.link not in draft.turning)
    segments = tuple(dict.fromkeys(links_of)) if request.sdn else ()
    needed = (boot.kernel, boot.initramfs, *(disk.volume for disk in disks), *(port.network for port in ports))
    return draft.add(
        DesiredResource(
            spec=node,
            endpoint=f"vim:{vim}",
            depends_on=tuple(dict.fromkeys(key for key in (*needed, *segments, *after) if key)),
            why=f"{vnf.name}'s VDU {vnfc.vdu.id}",
            verify=True,
        )
    )


def _add_volumes(draft: _Draft, vnfc: Vnfc, storage: StoragePlan, place: tuple[str, str]) -> tuple[Disk, ...]:
    vim, host = place
    disks = []
    for disk in storage.disks:
        image = _add_image(draft, disk.image, place)
        volume = VolumeSpec(
            key=disk.key,
            owner=draft.request.owner,
            host=host,
            name=f"{draft.request.ns.name}-{vnfc.name}-{disk.key.rsplit('/', 1)[-1]}",
            size_bytes=disk.size_bytes,
            image=image,
            snapshot=draft.request.reverted.get(disk.key, ""),
        )
        depends_on = (image,) if image else ()
        why = f"disk of {vnfc.name}"
        draft.add(DesiredResource(spec=volume, endpoint=f"vim:{vim}", depends_on=depends_on, why=why))
        disks.append(Disk(volume=disk.key, boot_index=disk.boot_index))
    return tuple(disks)


def _add_image(draft: _Draft, use: ImageUse | None, place: tuple[str, str]) -> str:
    if use is None:
        return ""
    vim, host = place
    image = ImageSpec(
        key=image_key(use, place),
        owner=draft.request.owner,
        host=host,
        name=use.name,
        sha256=use.artifact.sha256,
        size_bytes=use.artifact.size_bytes,
        format=use.format,
        source=use.artifact.path,
    )
    return draft.add(DesiredResource(spec=image, endpoint=f"vim:{vim}", why=f"image {use.name}", shared=True))


def _add_chain(draft: _Draft, path: Path) -> None:
    spec = path.spec
    nodes = [key for key, resource in draft.resources.items() if resource.spec.kind is ResourceKind.NODE]
    on_path = [key for key in nodes if any(key.startswith(f"{vnf}/") for vnf in path.passed)]
    checked = {check.key for check in draft.checks}
    live = [_live(spec.segment)] if _live(spec.segment) in checked else []
    draft.add(
        DesiredResource(
            spec=spec,
            endpoint=f"sdn:{draft.request.sdn}",
            depends_on=(spec.segment, *live, *on_path, *path.passed),
            why=f"chain through {', '.join(position.name for position in spec.positions)}",
            verify=not path.dead,
            may_degrade=bool(path.dead),
        )
    )
