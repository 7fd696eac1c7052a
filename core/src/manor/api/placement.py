"""Placement: which host each VNFC goes to, as a pure function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from manor.api.vim import Host

__all__ = [
    "AffinityScope",
    "Candidate",
    "Demand",
    "LinkNeed",
    "Placement",
    "PlacementPolicy",
    "PlacementRule",
    "SiteLink",
]


class AffinityScope(StrEnum):
    """Scope of an affinity or anti-affinity rule, from narrow to wide."""

    NFVI_NODE = "nfvi_node"
    ZONE = "zone"
    ZONE_GROUP = "zone_group"
    NFVI_POP = "nfvi_pop"
    NETWORK_LINK_AND_NODE = "network_link_and_node"


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkNeed:
    """What a virtual link needs of the way between any two sites that it comes to reach."""

    name: str
    """Demands that name the same link are on it together."""
    latency_s: float = 0.0
    """Most that one way may take; 0 for no matter."""
    bitrate_bps: int = 0
    """Least that must be free; 0 for none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteLink:
    """The way from one site to another."""

    latency_s: float = 0.0
    """One way."""
    bandwidth_bps: int = 0
    """What is free of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Demand:
    """What one VNFC needs of a host."""

    key: str
    vcpus: int
    memory_bytes: int
    storage_bytes: int = 0
    needs: tuple[str, ...] = ()
    """Capabilities that the VIM must claim FULL."""
    wanted_vim: str = ""
    """Location constraint: only this VIM; empty for any."""
    wanted_host: str = ""
    wanted_site: str = ""
    links: tuple[LinkNeed, ...] = ()
    """Those of its links that need something of the ways between sites."""
    hugepage_bytes: int = 0
    """Its memory is huge pages of this size, as ``Host.hugepages_free_bytes`` has them; 0 for ordinary ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacementRule:
    """These VNFCs together (affinity) or apart (anti-affinity) within the scope."""

    keys: tuple[str, ...]
    anti: bool
    scope: AffinityScope
    name: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A host that might take VNFCs."""

    vim: str
    host: Host
    support: Mapping[str, str] = field(default_factory=dict)
    """What can be had on this host: the VIM's capabilities, without what the host lacks."""
    site: str = ""
    """NFVI-PoP; empty where each VIM is its own."""
    site_links: Mapping[str, SiteLink] = field(default_factory=dict)
    """Ways from this site by the other site; what is not here is not known."""

    @property
    def pop(self) -> str:
        """The site, or the VIM where none is named."""
        return self.site or self.vim


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Where each demand goes; ``refused`` names what found no place, and why."""

    hosts: Mapping[str, tuple[str, str]]
    """(VIM, host) by demand key."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)


class PlacementPolicy(Protocol):
    """Chooses hosts. Pure: equal input gives an equal placement."""

    def place(
        self,
        demands: Sequence[Demand],
        rules: Sequence[PlacementRule],
        candidates: Sequence[Candidate],
        fixed: Mapping[str, tuple[str, str]],
    ) -> Placement:
        """Place every demand; those in ``fixed`` are where they are and stay."""
        ...
