"""One VNF as machines: which VNFCs it has at given numbers, and which link each of their ports is on.

Pure. Where a machine runs and which addresses it gets is the NFVO's part.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from manor.model.nsd import VnfProfile
from manor.model.vnfd import IntCpd, Vdu, Vnfd, VnfDf

__all__ = ["Vnf", "Vnfc", "VnfcPort", "expand", "identity", "slug", "vnf_name"]

_GENERATION = re.compile(r"(?<=[0-9])\.[0-9]+$")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def slug(name: str) -> str:
    """``name`` as one part of a resource key; a name that has to be changed gets a digest so that it stays unique."""
    safe = _UNSAFE.sub("-", name).strip("-.")[:40]
    if safe == name and safe:
        return safe
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:6]
    return f"{safe}-{digest}" if safe else digest


@dataclass(frozen=True, kw_only=True, slots=True)
class VnfcPort:
    """A port of a VNFC and the link it is on."""

    key: str
    cpd: IntCpd
    link: str
    """Key of the virtual link's segment."""
    identity: str
    """The key without the machine's generation: what replaces a machine beside it takes its MAC and addresses over."""
    ext_cpd: str = ""
    """Id of the external CP that exposes it, empty inside the VNF."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Vnfc:
    """One machine of a VNF."""

    key: str
    name: str
    vdu: Vdu
    index: int
    ports: tuple[VnfcPort, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Vnf:
    """One VNF of a service, expanded."""

    key: str
    name: str
    profile: VnfProfile
    index: int
    vnfd: Vnfd
    df: VnfDf
    vnfcs: tuple[Vnfc, ...]
    internal_links: Mapping[str, str]
    """Segment key by id of the VNFD's internal virtual links."""
    is_stopped: bool = False
    """Its machines are there and turned off (vnfState STOPPED)."""

    def ports_of(self, ext_cpd: str) -> tuple[VnfcPort, ...]:
        """The ports behind an external CP: one for each VNFC of its VDU."""
        return tuple(port for vnfc in self.vnfcs for port in vnfc.ports if port.ext_cpd == ext_cpd)


def identity(port_key: str) -> str:
    """A port's key without its machine's generation."""
    machine, _, port = port_key.rpartition("/")
    return f"{_GENERATION.sub('', machine)}/{port}"


def vnf_name(profile_id: str, index: int) -> str:
    """What VNF number ``index`` of a profile is called."""
    return slug(profile_id) if index == 0 else f"{slug(profile_id)}-{index + 1}"


def expand(
    service_id: str,
    profile: VnfProfile,
    index: int,
    vnfd: Vnfd,
    df: VnfDf,
    counts: Mapping[str, int],
    *,
    is_stopped: bool = False,
    generation: int = 0,
) -> Vnf:
    """VNF number ``index`` of a profile, with ``counts`` machines by VDU id.

    Machines of another ``generation`` can be there beside those of the one before.
    A port whose CP is on no link has none: it is left out, as nothing could reach it.
    """
    name = vnf_name(profile.id, index)
    key = f"{service_id}/vnf/{name}"
    internal = {link.id: f"{key}/vl/{slug(link.id)}" for link in vnfd.virtual_links}
    external = {
        cpd: f"{service_id}/vl/{slug(connectivity.virtual_link)}"
        for connectivity in profile.connectivity
        for cpd in connectivity.cpds
    }
    exposed = {(ext.vdu_id, ext.int_cpd): ext.id for ext in vnfd.ext_cpds if ext.int_cpd}
    vnfcs = []
    for vdu in df.vdus:
        for number in range(counts.get(vdu.id, 0)):
            plain = f"{key}/{slug(vdu.id)}-{number}"
            vnfc_key = f"{plain}.{generation}" if generation else plain
            ports = []
            for cpd in vdu.int_cpds:
                ext = exposed.get((vdu.id, cpd.id), "")
                link = external.get(ext) or external.get(cpd.id) or internal.get(cpd.int_virtual_link_desc)
                if link:
                    name_of_port = slug(cpd.id)
                    ports.append(
                        VnfcPort(
                            key=f"{vnfc_key}/{name_of_port}",
                            cpd=cpd,
                            link=link,
                            identity=f"{plain}/{name_of_port}",
                            ext_cpd=ext or cpd.id,
                        )
                    )
            vnfcs.append(
                Vnfc(key=vnfc_key, name=f"{name}-{slug(vdu.id)}-{number}", vdu=vdu, index=number, ports=tuple(ports))
            )
    return Vnf(
        key=key,
        name=name,
        profile=profile,
        index=index,
        vnfd=vnfd,
        df=df,
        vnfcs=tuple(vnfcs),
        internal_links={link: key for link, key in internal.items() if _used(key, vnfcs)},
        is_stopped=is_stopped,
    )


def _used(link_key: str, vnfcs: list[Vnfc]) -> bool:
    return any(port.link == link_key for vnfc in vnfcs for port in vnfc.ports)
