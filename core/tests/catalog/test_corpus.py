"""How much of other people's descriptors is accepted, and how much of that is understood.

``MANOR_CORPUS`` names a folder of descriptors, with one folder below it for each language or origin.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from manor.catalog.package import ItemKind
from manor.catalog.validate import Item, validate
from manor.model.vnfd import Vnfd

CORPUS = os.environ.get("MANOR_CORPUS", "")
BROKEN = re.compile(r"wrong|dupl|invalid|unsupported|incorrect|false|missing_key|non_", re.IGNORECASE)
"""Names by which authors say that a descriptor is broken on purpose."""

pytestmark = pytest.mark.skipif(not CORPUS, reason="MANOR_CORPUS names no folder")


def is_fragment(item: Item) -> bool:
    """A package folder whose descriptor itself was left out: there is nothing to read."""
    return item.kind is ItemKind.UNKNOWN and any(f.code == "entry-missing" for f in item.findings)


def understood(item: Item) -> bool:
    """Whether what an accepted descriptor is for came out of it."""
    descriptor = item.reading.descriptor if item.reading else None
    if descriptor is None:
        return item.kind is ItemKind.PNFD
    if isinstance(descriptor, Vnfd):
        vdus = [vdu for df in descriptor.flavours for vdu in df.vdus]
        parts = (vdus, descriptor.virtual_links, descriptor.storages, descriptor.images, descriptor.ext_cpds)
        return any(parts) or bool(descriptor.unhandled) or bool(descriptor.provider)
    graphs = [path for graph in descriptor.vnffgds for path in graph.nfpds]
    profiles = [profile for df in descriptor.flavours for profile in df.vnf_profiles]
    return bool(graphs or profiles or descriptor.nested_nsd_ids)


def figures(name: str, items: list[Item]) -> str:
    vnfds = [i.reading.descriptor for i in items if i.reading and isinstance(i.reading.descriptor, Vnfd)]
    vdus = [vdu for vnfd in vnfds for df in vnfd.flavours for vdu in df.vdus]
    return (
        f"{name}: {sum(i.accepted is True for i in items)} of {len(items)} accepted, "
        f"{sum(i.accepted is True and understood(i) for i in items)} understood; {len(vdus)} VDUs, "
        f"{sum(vdu.compute.virtual_mem_size_bytes > 0 for vdu in vdus)} with memory, "
        f"{sum(len(vdu.int_cpds) for vdu in vdus)} CPs, {sum(len(vnfd.virtual_links) for vnfd in vnfds)} links, "
        f"{sum(len(vnfd.ext_cpds) for vnfd in vnfds)} external CPs, {sum(len(vnfd.images) for vnfd in vnfds)} images"
    )


@pytest.mark.parametrize("folder", sorted(Path(CORPUS).iterdir()) if CORPUS else [], ids=lambda path: path.name)
def test_what_a_person_would_accept_is_accepted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = [item for item in validate([folder]) if item.accepted is not None] if folder.is_dir() else []
    if not items:
        pytest.skip("no descriptors here")
    meant = [item for item in items if not BROKEN.search(Path(item.path).name) and not is_fragment(item)]
    accepted = [item for item in meant if item.accepted]
    with capsys.disabled():
        print(f"\n{figures(folder.name, items)}")
        print(f"  not broken on purpose nor a fragment: {len(accepted)} of {len(meant)}")
        for item in meant:
            if not item.accepted:
                first = next(f for f in item.findings if f.severity == "error")
                print(f"  refused {Path(item.path).relative_to(folder)}:{first.line}: {first.message}")
    assert len(accepted) >= 0.95 * len(meant)
    assert all(understood(item) or item.findings for item in accepted)
