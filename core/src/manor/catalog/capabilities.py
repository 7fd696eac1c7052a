"""What a VDU or an interface asks of its host in words of its own: names that Manor knows, and those of others as said.

ETSI leaves the names of additional capabilities and of interface requirements to whoever writes them.
"""

from __future__ import annotations

import re

from manor.api import VimCapability
from manor.catalog.reading import Reading

__all__ = ["additional", "capability", "interface"]

_KNOWN = {
    "sriov": VimCapability.SRIOV,
    "nested": VimCapability.NESTED,
    "nested-virtualisation": VimCapability.NESTED,
    "vmx": VimCapability.NESTED,
    "svm": VimCapability.NESTED,
}
_BY_FIELD = frozenset(VimCapability) - {VimCapability.SRIOV, VimCapability.NESTED}
"""What a VDU says in fields of its own, by which it is made: a name gives it nothing."""
_DIRECT = "direct"
"""vnic_type of an interface that is a part of the network card."""
_TYPES = {"sr-iov": _DIRECT, "sriov": _DIRECT, "pci-passthrough": "direct-physical"}


def capability(said: str) -> str:
    """The capability by the name that it has with VIMs."""
    name = re.sub(r"[^a-z0-9.]+", "-", said.strip().lower()).strip("-")[:80]
    return str(_KNOWN.get(name, name))


def additional(reading: Reading, *, name: str, mandatory: str) -> tuple[str, ...]:
    """Those of requestedAdditionalCapabilityData that have to be there; the others are kept and not acted on."""
    found = []
    entries = [("", item) for item in reading.each()] if reading.is_list else list(reading.entries())
    for key, item in entries:
        wanted = capability((item.get(name).text() if item.is_map else "") or key)
        if wanted in _BY_FIELD:
            item.warning("unhandled", f"{wanted} is had by the VDU's own field for it, and not by this name")
        elif item.is_map and item.get(mandatory).flag() and wanted:
            found.append(wanted)
        elif wanted:
            item.info("unhandled", f"{wanted}, which need not be there, is kept and not acted on")
    return tuple(dict.fromkeys(found))


def interface(reading: Reading) -> str:
    """The vnic_type that a requirement of an interface means; empty where it says nothing of it."""
    texts = [value.text() for _, value in reading.entries() if value.is_text] if reading.is_map else [reading.text()]
    types = [_TYPES[name] for text in texts if (name := text.strip().lower().replace("_", "-")) in _TYPES]
    if texts and any(texts) and not types:
        reading.info("unhandled", f"{reading.name} {', '.join(texts)[:80]} is kept and not acted on")
    return next(iter(types), "")
