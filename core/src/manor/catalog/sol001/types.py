"""What Manor knows of ETSI's TOSCA types, by heart: no type file is ever fetched, and none has to be in a package.

A type of a descriptor's own is followed through ``derived_from``. Where its definition was left out of the package,
ONAP and Tacker packages often do that, its name is the best there is: ``tosca.nodes.nfv.ext.zte.VNF.HSS`` is a VNF.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum, auto

from manor.catalog.nodes import Kind as NodeKind
from manor.catalog.nodes import Node
from manor.catalog.reading import Reading, Source

__all__ = ["Role", "TypeBook", "is_etsi_import"]


class Role(Enum):
    """What a node template stands for."""

    VNF = auto()
    VDU = auto()
    CONTAINER = auto()
    STORAGE = auto()
    VDU_CP = auto()
    EXT_CP = auto()
    LINK = auto()
    NS = auto()
    NS_LINK = auto()
    SAP = auto()
    PNF = auto()
    NFP = auto()
    POSITION = auto()
    ELEMENT = auto()
    FORWARDING = auto()
    LEGACY_PATH = auto()
    KEPT = auto()
    """Known to ETSI, not acted on by Manor."""
    FOREIGN = auto()
    """Not NFV."""
    UNKNOWN = auto()


_P = "tosca.nodes.nfv."
_ROLES: Mapping[str, Role] = {
    **{_P + name: Role.VNF for name in ("VNF",)},
    **{_P + name: Role.VDU for name in ("Vdu.Compute", "VDU.Compute", "VDU", "VDU.Tacker")},
    **{_P + name: Role.CONTAINER for name in ("Vdu.OsContainerDeployableUnit", "Vdu.OsContainerGroup")},
    **{
        _P + name: Role.STORAGE
        for name in (
            "Vdu.VirtualBlockStorage",
            "Vdu.VirtualObjectStorage",
            "Vdu.VirtualFileStorage",
            "Vdu.VirtualStorage",
            "VDU.VirtualStorage",
            "VDU.VirtualBlockStorage",
            "VDU.VirtualObjectStorage",
            "VDU.VirtualFileStorage",
        )
    },
    **{_P + name: Role.VDU_CP for name in ("VduCp", "VduCpd", "Cpd", "CP", "CP.Tacker", "Cp")},
    **{_P + name: Role.EXT_CP for name in ("VnfExtCp", "VnfExtCpd")},
    **{_P + name: Role.LINK for name in ("VnfVirtualLink", "VnfVirtualLinkDesc")},
    **{
        _P + name: Role.NS_LINK
        for name in ("NsVirtualLink", "NsVirtualLinkDesc", "VL", "VL.ELine", "VL.ELAN", "VL.ETree")
    },
    **{_P + name: Role.NS for name in ("NS",)},
    **{_P + name: Role.SAP for name in ("Sap", "Sapd")},
    **{_P + name: Role.PNF for name in ("PNF", "PnfExtCp", "PnfExtCpd")},
    **{_P + name: Role.NFP for name in ("NFP",)},
    **{_P + name: Role.POSITION for name in ("NfpPosition",)},
    **{_P + name: Role.ELEMENT for name in ("NfpPositionElement",)},
    **{_P + name: Role.FORWARDING for name in ("Forwarding",)},
    **{_P + name: Role.LEGACY_PATH for name in ("FP.TackerV2", "FP.Tacker", "FP")},
    **{
        _P + name: Role.KEPT
        for name in ("VipCp", "VduSubCp", "VirtualCp", "Vdu.OsContainer", "Mciop", "Cluster", "CertificateDesc")
    },
}
_BY_PART = {
    "VNF": Role.VNF,
    "NS": Role.NS,
    "PNF": Role.PNF,
    "VL": Role.NS_LINK,
    "VDU": Role.VDU,
    "VDUCP": Role.VDU_CP,
    "VDUCPD": Role.VDU_CP,
    "CP": Role.VDU_CP,
    "VNFVIRTUALLINK": Role.LINK,
    "NSVIRTUALLINK": Role.NS_LINK,
}
_ETSI_FILE = re.compile(
    r"(etsi[_-]nfv[_-]sol001.*types.*|(tosca|nfv)[\w.-]*(definition|types|simple[_-]profile)[\w.-]*|sol001.*types.*)\.ya?ml",
    re.IGNORECASE,
)
_BASE_DEPTH = 32


def is_etsi_import(name: str) -> bool:
    """Whether an imported file, by its basename, holds types that are built in."""
    return _ETSI_FILE.fullmatch(name.rpartition("/")[2]) is not None


class TypeBook:
    """The node types that a package defines, over those that are built in."""

    def __init__(self) -> None:
        self._own: dict[str, Reading] = {}
        self._guessed: dict[str, bool] = {}

    def learn(self, template: Reading) -> None:
        """Take in the node types of a service template; the first definition of a name stays."""
        for name, definition in template.get("node_types").entries():
            self._own.setdefault(name, definition)
        # The rest is not acted on, and nothing to tell anyone about.
        for kind in ("node_types", "data_types", "artifact_types", "interface_types", "policy_types", "group_types"):
            template.get(kind).value()
        template.get("capability_types").value()
        template.get("relationship_types").value()

    @property
    def names(self) -> list[str]:
        """Every type that a node template may be of."""
        return [*self._own, *_ROLES]

    def role(self, name: str) -> Role:
        """What a node of this type is."""
        for base in self._lineage(name):
            if base in _ROLES:
                return _ROLES[base]
            if base.startswith("tosca.nodes.") and not base.startswith(_P):
                return Role.FOREIGN
        return self._by_name(self._lineage(name)[-1])

    def is_defined(self, name: str) -> bool:
        """Whether the type, and all that it derives from, is in the package or built in."""
        last = self._lineage(name)[-1]
        return last in _ROLES or (last.startswith("tosca.nodes.") and not last.startswith(_P))

    def _lineage(self, name: str) -> list[str]:
        line = [name]
        while name in self._own and name not in _ROLES and len(line) < _BASE_DEPTH:
            definition = self._own[name]
            name = definition.get("derived_from").text() if definition.is_map else ""
            if not name or name in line:
                break
            line.append(name)
        return line

    def _by_name(self, name: str) -> Role:
        for part in reversed(re.split(r"[.:]", name)):
            role = _BY_PART.get(re.sub(r"[_\d]+$", "", part).upper())
            if role is not None:
                return role
        return Role.UNKNOWN

    def defaults(self, name: str, source: Source) -> Reading:
        """Property values that the type itself gives: its defaults, or the only value that its constraints allow."""
        found = Node(NodeKind.MAP, 0, 0)
        for base in self._lineage(name):
            definition = self._own.get(base)
            if definition is None or not definition.is_map:
                continue
            for key, described in definition.get("properties").entries():
                if key in found.fields or not described.is_map:
                    continue
                value = described.get("default") or self._only_value(described)
                if value:
                    found.fields[key] = value.node
                    found.places[key] = (value.node.line, value.node.column)
        return Reading(found, source, name="properties")

    def _only_value(self, described: Reading) -> Reading:
        allowed = self.allowed(described)
        return allowed[0] if len(allowed) == 1 else Reading(None, described.source)

    def allowed(self, described: Reading) -> list[Reading]:
        """The valid values that a property definition lists."""
        for constraint in described.get("constraints").each():
            if constraint.is_map and constraint.has("valid_values"):
                return list(constraint.get("valid_values").each())
        return []

    def definitions(self, name: str) -> dict[str, Reading]:
        """Property definitions by name, those of the type before those of its bases."""
        found: dict[str, Reading] = {}
        for base in self._lineage(name):
            definition = self._own.get(base)
            if definition is not None and definition.is_map:
                for key, described in definition.get("properties").entries():
                    found.setdefault(key, described)
        return found
