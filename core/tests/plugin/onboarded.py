"""The demo's packages in an open installation, for tests of what plugins do to operations."""

from __future__ import annotations

from typing import Any

import secure_web
from pydantic import TypeAdapter

from manor.api import OperationKind
from manor.lcm import ns, work
from manor.lcm.runtime import Runtime
from manor.model.instance import OperationalState, OperationState, PackageInfo, PackageKind
from manor.model.nsd import Nsd
from manor.model.vnfd import Vnfd
from manor.store import packages


def onboard(rt: Runtime) -> None:
    kept: list[tuple[PackageKind, Any, dict[str, str]]] = [(PackageKind.NS, secure_web.NSD, {})]
    kept += [(PackageKind.VNF, d, {"vmlinuz": "a" * 64, "initramfs": "b" * 64}) for d in secure_web.VNFDS.values()]
    with rt.store.begin() as tx:
        for kind, descriptor, artifacts in kept:
            info = PackageInfo(
                id=f"pkg-{descriptor.id}",
                kind=kind,
                descriptor_id=descriptor.id,
                name=descriptor.id,
                operational_state=OperationalState.ENABLED,
                artifacts=artifacts,
            )
            model: Any = Nsd if kind is PackageKind.NS else Vnfd
            packages.add(tx, info, descriptor=TypeAdapter(model).dump_python(descriptor, mode="json"))


def run(rt: Runtime, operation: OperationKind, **more: Any) -> OperationState:
    """Carry the operation out on the service ``demo``; where it came to rest."""
    with work.working(rt):
        return work.follow(rt, ns.start(rt, ns.propose(rt, "demo", operation), **more)).state
