"""The services that the benchmarks deploy, in the model's own terms, and an installation to deploy them on."""

from pathlib import Path
from typing import Any

from manor.api import Subnet
from manor.lcm.runtime import Runtime
from manor.model.instance import OperationalState, PackageInfo, PackageKind
from manor.model.nsd import Nsd, NsDf, NsVirtualLinkDesc, VirtualLinkConnectivity, VnfProfile
from manor.model.vnfd import ExtCpd, IntCpd, SwImageDesc, Vdu, VduProfile, VirtualComputeDesc, Vnfd, VnfDf


def onboard(rt: Runtime, machines: int, files: dict[str, Path], memory_mib: int = 128) -> None:
    """A service ``bench`` with this many machines of one kind on one link. ``files``: kernel and initramfs by name."""
    import hashlib

    from pydantic import TypeAdapter

    from manor.catalog.contents import artifact_path
    from manor.store import packages

    vnfd = Vnfd(
        id="bench-vnfd",
        images=tuple(
            SwImageDesc(id=name, file=name, disk_format=form)
            for name, form in (("kernel", "aki"), ("initramfs", "ari"))
        ),
        ext_cpds=(ExtCpd(id="cp", vdu_id="main", int_cpd="cp"),),
        flavours=(
            VnfDf(
                id="default",
                vdus=(
                    Vdu(
                        id="main",
                        compute=VirtualComputeDesc(num_virtual_cpu=1, virtual_mem_size_bytes=memory_mib << 20),
                        images=("kernel", "initramfs"),
                        int_cpds=(IntCpd(id="cp", layer_protocols=("ethernet", "ipv4")),),
                    ),
                ),
                vdu_profiles=(VduProfile(vdu_id="main"),),
            ),
        ),
    )
    nsd = Nsd(
        id="bench",
        virtual_links=(NsVirtualLinkDesc(id="lan", subnets=(Subnet(cidr="10.8.0.0/14"),)),),
        flavours=(
            NsDf(
                id="default",
                vnf_profiles=(
                    VnfProfile(
                        id="vm",
                        vnfd_id="bench-vnfd",
                        min_number_of_instances=machines,
                        max_number_of_instances=machines,
                        connectivity=(VirtualLinkConnectivity(virtual_link="lan", cpds=("cp",)),),
                    ),
                ),
            ),
        ),
    )
    artifacts = {}
    store = rt.store  # made first: a home with packages and no database is one that lost it
    for name, path in files.items():
        data = path.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        kept = artifact_path(rt.home, sha256)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(data)
        artifacts[name] = sha256
    kinds: tuple[tuple[PackageKind, Any, Any], ...] = ((PackageKind.NS, Nsd, nsd), (PackageKind.VNF, Vnfd, vnfd))
    with store.begin() as tx:
        for kind, model, descriptor in kinds:
            info = PackageInfo(
                id=f"bench-{kind}",
                kind=kind,
                descriptor_id=descriptor.id,
                name=descriptor.id,
                operational_state=OperationalState.ENABLED,
                artifacts=artifacts if kind is PackageKind.VNF else {},
            )
            packages.add(tx, info, descriptor=TypeAdapter(model).dump_python(descriptor, mode="json"))
