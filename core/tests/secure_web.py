"""A small service in the model's own terms: client → firewall → monitor → web on one link."""

from typing import Any

from manor.api import OperationKind
from manor.api.resources import Classifier, PortRange, Subnet
from manor.catalog.onboard import descriptor_json
from manor.lcm import ns, work
from manor.lcm.runtime import Runtime
from manor.model.instance import NsInstance, OperationalState, OperationState, PackageInfo, PackageKind
from manor.model.nsd import (
    CpRef,
    Nfpd,
    NfpPosition,
    NfpPositionElement,
    Nsd,
    NsDf,
    NsVirtualLinkDesc,
    VirtualLinkConnectivity,
    Vnffgd,
    VnfProfile,
)
from manor.model.vnfd import ExtCpd, IntCpd, SwImageDesc, Vdu, VduProfile, VirtualComputeDesc, Vnfd, VnfDf
from manor.nfvo.request import Artifact, ServiceRequest
from manor.store import packages

GIB = 1 << 30
KERNEL = Artifact(path="/images/vmlinuz", sha256="a" * 64, size_bytes=9_000_000)
INITRAMFS = Artifact(path="/images/initramfs", sha256="b" * 64, size_bytes=12_000_000)


def vnfd(name: str, *cps: str, protocols: tuple[str, ...] = ("ethernet", "ipv4"), memory: int = GIB // 8) -> Vnfd:
    return Vnfd(
        id=f"{name}-vnfd",
        product_name=name,
        images=(
            SwImageDesc(id="kernel", file="vmlinuz", disk_format="aki"),
            SwImageDesc(id="initramfs", file="initramfs", disk_format="ari"),
        ),
        ext_cpds=tuple(ExtCpd(id=cp, vdu_id="main", int_cpd=f"{cp}-nic") for cp in cps),
        flavours=(
            VnfDf(
                id="default",
                vdus=(
                    Vdu(
                        id="main",
                        compute=VirtualComputeDesc(num_virtual_cpu=1, virtual_mem_size_bytes=memory),
                        images=("kernel", "initramfs"),
                        int_cpds=tuple(IntCpd(id=f"{cp}-nic", layer_protocols=protocols) for cp in cps),
                        boot_data="#!/bin/sh\necho hello\n",
                        guest_agent=True,
                    ),
                ),
                vdu_profiles=(VduProfile(vdu_id="main", min_number_of_instances=1, max_number_of_instances=3),),
            ),
        ),
    )


VNFDS = {
    d.id: d
    for d in (
        vnfd("client", "eth"),
        vnfd("firewall", "in", "out", protocols=("ethernet",)),
        vnfd("monitor", "in", "out", protocols=("ethernet",)),
        vnfd("web", "eth"),
    )
}


def profile(name: str, *cps: str, instances: int = 1) -> VnfProfile:
    return VnfProfile(
        id=name,
        vnfd_id=f"{name}-vnfd",
        min_number_of_instances=instances,
        connectivity=(VirtualLinkConnectivity(virtual_link="lan", cpds=cps),),
    )


def position(name: str, *cps: str) -> NfpPosition:
    return NfpPosition(
        id=name, elements=(NfpPositionElement(id=name, cps=tuple(CpRef(constituent=name, cpd=cp) for cp in cps)),)
    )


NSD = Nsd(
    id="secure-web",
    virtual_links=(NsVirtualLinkDesc(id="lan", subnets=(Subnet(cidr="10.10.0.0/24"),)),),
    flavours=(
        NsDf(
            id="default",
            vnf_profiles=(
                profile("client", "eth"),
                profile("firewall", "in", "out"),
                profile("monitor", "in", "out"),
                profile("web", "eth"),
            ),
        ),
    ),
    vnffgds=(
        Vnffgd(
            id="graph",
            nfpds=(
                Nfpd(
                    id="to-web",
                    positions=(
                        position("client", "eth"),
                        position("firewall", "in", "out"),
                        position("monitor", "in", "out"),
                        position("web", "eth"),
                    ),
                    rules=(Classifier(protocol="tcp", destination_port_range=PortRange(lower=1, upper=65535)),),
                ),
            ),
        ),
    ),
)


def request(**changes: object) -> ServiceRequest:
    fields: dict[str, object] = {
        "ns": NsInstance(id="0a1b2c3d", name="demo", nsd_id="secure-web", nsd_package="p", flavour_id=""),
        "owner": "manor/test",
        "nsd": NSD,
        "vnfds": VNFDS,
        "artifacts": {
            (d, name): artifact for d in VNFDS for name, artifact in (("vmlinuz", KERNEL), ("initramfs", INITRAMFS))
        },
        "sdn": "ryu",
    }
    return ServiceRequest(**(fields | changes))  # type: ignore[arg-type]


def onboard(runtime: Runtime) -> None:
    """The descriptors in an open installation, as if from packages."""
    files = {"vmlinuz": KERNEL.sha256, "initramfs": INITRAMFS.sha256}
    kept: list[tuple[PackageKind, Nsd | Vnfd, dict[str, str]]] = [(PackageKind.NS, NSD, {})]
    kept += [(PackageKind.VNF, descriptor, files) for descriptor in VNFDS.values()]
    with runtime.store.begin() as tx:
        for kind, descriptor, artifacts in kept:
            info = PackageInfo(
                id=f"pkg-{descriptor.id}",
                kind=kind,
                descriptor_id=descriptor.id,
                name=descriptor.id,
                operational_state=OperationalState.ENABLED,
                artifacts=artifacts,
            )
            packages.add(tx, info, descriptor=descriptor_json(descriptor))


def run(runtime: Runtime, operation: OperationKind, **more: Any) -> OperationState:
    """Carry the operation out on the service ``demo``; where it came to rest."""
    with work.working(runtime):
        return work.follow(runtime, ns.start(runtime, ns.propose(runtime, "demo", operation), **more)).state
