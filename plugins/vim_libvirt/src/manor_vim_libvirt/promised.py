"""What a host was promised to its machines, taken by them yet or not: what keeps it from being promised again.

A machine touches its memory bit by bit, and one that is off has none. So what a host says is free is more than what it
can still promise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from manor_vim_libvirt.domain_xml import pinned_cpus
from manor_vim_libvirt.link import Link
from manor_vim_libvirt.metadata import parse
from manor_vim_libvirt.names import native_prefix

__all__ = ["Promise", "memory_left", "pages_left", "promise_of", "promises"]

_SOME_PAGE = 1
"""Size of a huge page of which only the host knows how large it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Promise:
    """What one machine was promised."""

    vcpus: int = 0
    cpus: frozenset[int] = frozenset()
    """Physical CPUs that it has to itself."""
    memory_bytes: int = 0
    taken_bytes: int = 0
    """Of its memory, what it does not take of the free memory any more."""
    page_bytes: int = 0
    """Size of the huge pages that its memory is; 0 for ordinary ones."""


def memory_left(total_bytes: int, free_bytes: int, promised: Sequence[Promise]) -> int:
    """Memory that can still be promised, of what is free now; never below 0. Pure.

    All is of one kind: ordinary pages, or huge ones of a size.
    """
    to_come = sum(max(0, one.memory_bytes - one.taken_bytes) for one in promised)
    return max(0, min(free_bytes - to_come, total_bytes - sum(one.memory_bytes for one in promised)))


def pages_left(set_aside: Mapping[int, int], free: Mapping[int, int], promised: Sequence[Promise]) -> dict[int, int]:
    """Bytes that can still be promised of the huge pages of each size, by how many there are and are free. Pure."""
    return {
        size: memory_left(count * size, free.get(size, 0) * size, [one for one in promised if one.page_bytes == size])
        for size, count in set_aside.items()
    }


def promise_of(root: Any, *, resident_bytes: int | None, is_ours: bool) -> Promise:
    """What a domain's XML promises; another's that is off claims the CPUs that it names, and nothing else. Pure.

    ``resident_bytes`` is None where nobody can tell: then all is taken. Huge pages are taken at the start, all at once.
    """
    is_on = root.get("id") is not None
    cpus = frozenset(pinned_cpus(root))
    if not (is_on or is_ours):
        return Promise(vcpus=len(cpus), cpus=cpus)
    memory_bytes = int(root.findtext("memory", "0")) * 1024  # libvirt always answers in KiB
    taken_bytes = memory_bytes if resident_bytes is None else resident_bytes
    page_bytes = 0
    if (huge := root.find("memoryBacking/hugepages")) is not None:
        page = huge.find("page")
        page_bytes = _SOME_PAGE if page is None else int(page.get("size")) * 1024
        taken_bytes = memory_bytes = -(-memory_bytes // page_bytes) * page_bytes
    return Promise(
        vcpus=int(root.findtext("vcpu", "1")),
        cpus=cpus,
        memory_bytes=memory_bytes,
        taken_bytes=taken_bytes if is_on else 0,
        page_bytes=page_bytes,
    )


def promises(link: Link, owner: str) -> list[Promise]:
    """Those of all domains of a host. Raises libvirtError."""
    import libvirt

    connection = link.connection()
    stats = connection.getAllDomainStats(
        libvirt.VIR_DOMAIN_STATS_BALLOON, libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE
    )
    resident = {domain.UUID(): item["balloon.rss"] * 1024 for domain, item in stats if "balloon.rss" in item}
    found = []
    for domain in connection.listAllDomains(0):
        try:
            root = parse(domain.XMLDesc(0))
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                continue  # removed since it was listed
            raise
        is_ours = domain.name().startswith(native_prefix(owner))
        found.append(promise_of(root, resident_bytes=resident.get(domain.UUID()), is_ours=is_ours))
    return found
