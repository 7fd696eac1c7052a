"""A service that has grown away from its NSD: VNFs, nested services, links, access points and paths that operators
added or took out.

The amendment is laid over the descriptor, and what follows is an NSD like any other: nothing else knows of it. Pure.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from manor.errors import UsageError
from manor.model.nsd import Nsd, NsProfile, NsVirtualLinkDesc, Sapd, Vnffgd, VnfProfile

if TYPE_CHECKING:
    from pydantic import TypeAdapter

__all__ = ["Amendment", "amended", "amendment_from_json", "amendment_to_json", "carried", "nesting", "users_of_link"]

_Element = TypeVar("_Element", VnfProfile, NsProfile, NsVirtualLinkDesc, Sapd, Vnffgd)
_KINDS = ("vnf_profiles", "ns_profiles", "virtual_links", "sapds", "vnffgds")


@dataclass(frozen=True, kw_only=True, slots=True)
class Amendment:
    """What is otherwise than in the NSD. What is added stands in for what has the same id."""

    vnf_profiles: tuple[VnfProfile, ...] = ()
    virtual_links: tuple[NsVirtualLinkDesc, ...] = ()
    sapds: tuple[Sapd, ...] = ()
    vnffgds: tuple[Vnffgd, ...] = ()
    ns_profiles: tuple[NsProfile, ...] = ()
    gone: tuple[str, ...] = ()
    """Elements of the NSD that were taken out, as ``virtual_links/lan``."""

    def adds(self, kind: str, element: Any) -> Amendment:
        """With this element of ``kind`` (a field's name), in place of one of the same id."""
        others = tuple(one for one in getattr(self, kind) if one.id != element.id)
        gone = tuple(name for name in self.gone if name != f"{kind}/{element.id}")
        return dataclasses.replace(self, **{kind: (*others, element), "gone": gone})

    def removes(self, kind: str, element_id: str, nsd: Nsd) -> Amendment:
        """Without the element; ``nsd`` says whether it is one of the descriptor's own."""
        left = tuple(one for one in getattr(self, kind) if one.id != element_id)
        gone = dict.fromkeys(self.gone)
        if any(one.id == element_id for one in _of(nsd, kind)):
            gone[f"{kind}/{element_id}"] = None
        return dataclasses.replace(self, **{kind: left, "gone": tuple(gone)})

    def without_part(self, part: str) -> Amendment:
        """Without what was said of the elements of a nested service that is no more."""

        def is_of(element_id: str) -> bool:
            return element_id.startswith(f"{part}.")

        left = {kind: tuple(one for one in getattr(self, kind) if not is_of(one.id)) for kind in _KINDS}
        gone = tuple(name for name in self.gone if not is_of(_element(name)))
        return dataclasses.replace(self, **left, gone=gone)


def nesting(nsd: Nsd, amendment: Amendment) -> Nsd:
    """The NSD, not yet laid out flat, with the services that it nests by now; nothing waits for one that is gone."""

    def stays(name: str) -> bool:
        return f"ns_profiles/{name}" not in amendment.gone

    return dataclasses.replace(
        nsd,
        flavours=tuple(
            dataclasses.replace(
                df,
                ns_profiles=_laid(df.ns_profiles, amendment, "ns_profiles"),
                dependencies=tuple(one for one in df.dependencies if stays(one.primary) and stays(one.secondary)),
            )
            for df in nsd.flavours
        ),
    )


def amended(nsd: Nsd, amendment: Amendment) -> Nsd:
    """The NSD, laid out flat, with the amendment laid over it, in every flavour."""
    return dataclasses.replace(
        nsd,
        virtual_links=_laid(nsd.virtual_links, amendment, "virtual_links"),
        sapds=_laid(nsd.sapds, amendment, "sapds"),
        vnffgds=_laid(nsd.vnffgds, amendment, "vnffgds"),
        flavours=tuple(
            dataclasses.replace(df, vnf_profiles=_laid(df.vnf_profiles, amendment, "vnf_profiles"))
            for df in nsd.flavours
        ),
    )


def carried(amendment: Amendment, old: Nsd, new: Nsd) -> Amendment:
    """The amendment over another version of the NSD: what that one has by itself now is the version's own."""
    fields = {}
    for kind in _KINDS:
        own = _ids(new, kind) - _ids(old, kind)
        fields[kind] = tuple(one for one in getattr(amendment, kind) if one.id not in own)
    nested = {part.id for part in amendment.ns_profiles}
    gone = [name for name in amendment.gone if _part(name) in nested or _element(name) in _ids(new, _kind(name))]
    return Amendment(**fields, gone=tuple(gone))


def users_of_link(nsd: Nsd, flavour_id: str, link: str, connections: Mapping[str, Mapping[str, str]]) -> list[str]:
    """What is on a virtual link, in words; ``connections`` are VNFs' own, by VNF name and CP."""
    df = nsd.flavour(flavour_id)
    users = [f"SAP {sap.id}" for sap in nsd.sapds if sap.virtual_link == link]
    for profile in df.vnf_profiles if df else ():
        users += [
            f"{profile.id}'s {cpd}" for one in profile.connectivity if one.virtual_link == link for cpd in one.cpds
        ]
    users += [f"{vnf}'s {cpd}" for vnf, links in connections.items() for cpd, name in links.items() if name == link]
    return users


def _laid(elements: Iterable[_Element], amendment: Amendment, kind: str) -> tuple[_Element, ...]:
    added: dict[str, Any] = {one.id: one for one in getattr(amendment, kind)}
    kept: list[Any] = [added.pop(one.id, one) for one in elements if f"{kind}/{one.id}" not in amendment.gone]
    return (*kept, *added.values())


def _of(nsd: Nsd, kind: str) -> list[Any]:
    if kind in ("vnf_profiles", "ns_profiles"):
        return [profile for df in nsd.flavours for profile in getattr(df, kind)]
    return list(getattr(nsd, kind))


def _ids(nsd: Nsd, kind: str) -> set[str]:
    return {one.id for one in _of(nsd, kind)}


def _kind(name: str) -> str:
    return name.partition("/")[0]


def _element(name: str) -> str:
    return name.partition("/")[2]


def _part(name: str) -> str:
    """The nested service that an element is of."""
    return _element(name).partition(".")[0]


def amendment_to_json(amendment: Amendment) -> dict[str, Any]:
    """As JSON values; nothing at all for an amendment that says nothing."""
    if amendment == Amendment():
        return {}
    data: dict[str, Any] = _reader().dump_python(amendment, mode="json")
    return data


def amendment_from_json(data: Mapping[str, Any]) -> Amendment:
    """Read what :func:`amendment_to_json` wrote, or an operator. Raises UsageError naming what is wrong in it."""
    from pydantic import ValidationError

    try:
        read: Amendment = _reader().validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{place}: {first['msg']}", hint="field names as in manor.model.nsd") from error
    return read


@functools.cache
def _reader() -> TypeAdapter[Amendment]:
    from pydantic import TypeAdapter

    return TypeAdapter(Amendment)
