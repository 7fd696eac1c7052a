"""A service that can be scaled, stopped and upgraded, on the fakes, as the lifecycle operations' tests want it."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import secure_web
from in_memory import directory
from pydantic import TypeAdapter

from manor.api import CallContext, NodeSpec, Observed, OperationKind, Query, ResourceKind, Subnet
from manor.fakes import World
from manor.lcm import endpoints, ns, work
from manor.lcm.ns import Proposal
from manor.lcm.runtime import Runtime, open_runtime
from manor.lcm.wishes import Wishes
from manor.model.desired import DesiredState
from manor.model.instance import (
    EndpointKind,
    NsLcmOpOcc,
    OnFailure,
    OperationalState,
    OperationState,
    PackageInfo,
    PackageKind,
    VnfInstance,
)
from manor.model.nsd import Nsd, NsInstantiationLevel, NsScalingAspect
from manor.model.vnfd import (
    ScalingAspect,
    SwImageDesc,
    VduProfile,
    VirtualStorageDesc,
    Vnfd,
    VnfInstantiationLevel,
)
from manor.plugin import unguarded
from manor.store import instances, packages

GIB = 1 << 30


def _web() -> Vnfd:
    """A VNF of one to four machines, each with a disk made from an image and a blank one."""
    plain = secure_web.VNFDS["web-vnfd"]
    (df,) = plain.flavours
    (vdu,) = df.vdus
    vdu = dataclasses.replace(vdu, images=("root",), storages=("data",))
    df = dataclasses.replace(
        df,
        vdus=(vdu,),
        vdu_profiles=(VduProfile(vdu_id="main", min_number_of_instances=1, max_number_of_instances=3),),
        scaling_aspects=(
            ScalingAspect(id="workers", max_scale_level=3, step_deltas=("one",), deltas={"one": {"main": 1}}),
        ),
        initial_deltas={"main": 1},
        instantiation_levels=(
            VnfInstantiationLevel(id="small", scale_levels={"workers": 0}),
            VnfInstantiationLevel(id="large", scale_levels={"workers": 2}),
        ),
        default_instantiation_level="small",
    )
    return dataclasses.replace(
        plain,
        images=(SwImageDesc(id="root", file="root.qcow2", disk_format="qcow2", min_disk_bytes=GIB),),
        storages=(VirtualStorageDesc(id="data", size_of_storage_bytes=GIB),),
        flavours=(df,),
    )


def _nsd() -> Nsd:
    """The secure web with one to three firewalls, none to two monitors, and two sizes to start at."""
    (df,) = secure_web.NSD.flavours
    bounds = {"firewall": (1, 3), "monitor": (0, 2)}
    profiles = tuple(
        dataclasses.replace(p, min_number_of_instances=bounds[p.id][0], max_number_of_instances=bounds[p.id][1])
        if p.id in bounds
        else p
        for p in df.vnf_profiles
    )
    df = dataclasses.replace(
        df,
        vnf_profiles=profiles,
        instantiation_levels=(
            NsInstantiationLevel(id="small", vnf_levels={"firewall": 1, "monitor": 1}),
            NsInstantiationLevel(id="large", vnf_levels={"firewall": 2, "monitor": 2}),
        ),
        default_instantiation_level="small",
        scaling_aspects=(NsScalingAspect(id="security", levels=({"firewall": 1}, {"firewall": 2}, {"firewall": 3})),),
    )
    links = (dataclasses.replace(secure_web.NSD.virtual_links[0], subnets=(Subnet(cidr="10.10.0.0/24"),)),)
    return dataclasses.replace(secure_web.NSD, flavours=(df,), virtual_links=links)


NSD = _nsd()
VNFDS = {**secure_web.VNFDS, "web-vnfd": _web()}
FILES = ("vmlinuz", "initramfs", "root.qcow2")


@dataclasses.dataclass
class Site:
    """An open installation with one service, and what an operator does to it."""

    rt: Runtime

    @property
    def world(self) -> World:
        """What really is."""
        return unguarded(self.rt.vim("lab")).world  # type: ignore[attr-defined, no-any-return]

    def onboard(self, descriptor: Nsd | Vnfd) -> None:
        """Keep a package with this descriptor; a VNF's has its own content."""
        kind = PackageKind.NS if isinstance(descriptor, Nsd) else PackageKind.VNF
        files = {} if kind is PackageKind.NS else {f: f"{hash_of(descriptor.id + f)}" for f in FILES}
        info = PackageInfo(
            id=f"pkg-{descriptor.id}",
            kind=kind,
            descriptor_id=descriptor.id,
            name=descriptor.id,
            operational_state=OperationalState.ENABLED,
            artifacts=files,
        )
        with self.rt.store.begin() as tx:
            packages.add(tx, info, descriptor=as_json(descriptor))

    def run(self, proposal: Proposal, on_failure: OnFailure = OnFailure.ROLLBACK) -> NsLcmOpOcc:
        """Start it and stay with it to its end."""
        return work.follow(self.rt, ns.start(self.rt, proposal, on_failure=on_failure))

    def done(self, proposal: Proposal) -> NsLcmOpOcc:
        """Run it; it must complete, and nothing may have drifted then."""
        operation = self.run(proposal)
        assert operation.state is OperationState.COMPLETED, operation.error
        assert self.drift() == ()
        return operation

    def drift(self) -> tuple[str, ...]:
        """Ids of the steps that a repair would take."""
        return tuple(step.id for step in ns.propose(self.rt, "demo", OperationKind.REPAIR).plan.steps)

    def seen(self, *kinds: ResourceKind) -> dict[str, Observed]:
        """What is there of these kinds, by key without the service's id."""
        query = Query(owner=self.rt.owner, kinds=frozenset(kinds) or None)
        ctx = CallContext.within(60)
        found: Sequence[Observed] = [
            *self.rt.vim("lab").observe(query, ctx),
            *self.rt.sdn("net").observe(query, ctx),
        ]
        return {one.ref.key.partition("/")[2]: one for one in found}

    def nodes(self) -> set[str]:
        """The machines that are there, as ``vnf/web/main-0``."""
        return set(self.seen(ResourceKind.NODE))

    def state(self) -> DesiredState:
        """What should be there."""
        with self.rt.store.read() as tx:
            found = instances.desired(tx, instances.get(tx, "demo").id)
        assert found is not None
        return found

    def vnf(self, name: str) -> VnfInstance:
        """A VNF as the store has it."""
        with self.rt.store.read() as tx:
            return next(v for v in instances.vnfs(tx, instances.get(tx, "demo").id) if v.name == name)

    def node(self, name: str) -> NodeSpec:
        """A machine as it should be, by the end of its key."""
        return next(
            r.spec for r in self.state().resources if isinstance(r.spec, NodeSpec) and r.spec.key.endswith(name)
        )


def as_json(descriptor: Nsd | Vnfd) -> dict[str, Any]:
    """The descriptor as a package keeps it."""
    return _adapter(type(descriptor)).dump_python(descriptor, mode="json")  # type: ignore[no-any-return]


@functools.cache
def _adapter(kind: type[Nsd | Vnfd]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def hash_of(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def opened(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    nsd: Nsd = NSD,
    vnfds: Mapping[str, Vnfd] = VNFDS,
    hosts: Sequence[str] = ("host-1",),
    nsd_name: str = "secure-web",
    instantiate: bool = True,
    wishes: Wishes | None = None,
) -> Iterator[Site]:
    """A site with its service running: made once, and for each further test a copy of what that left on the disk."""
    recipe = repr((nsd, vnfds, hosts, nsd_name, instantiate, wishes))
    if recipe not in _MADE:
        _MADE[recipe] = _room() / str(len(_MADE))
    here, kept = _MADE[recipe], _MADE[recipe].with_suffix(".kept")
    here.unlink(missing_ok=True)
    here.symlink_to(path)  # what is kept names its files by it
    monkeypatch.setattr("manor.catalog.contents.artifact_path", lambda _home, _sha256: here / "image")
    if kept.exists():
        shutil.copytree(kept, path, dirs_exist_ok=True)
    else:
        (path / "image").write_bytes(b"content")
        with open_runtime(path / "home") as rt:
            _make(Site(rt), here, (nsd, *vnfds.values()), hosts, nsd_name, instantiate, wishes)
        if (path / "home/manor.db").exists():  # else the suite runs on PostgreSQL
            shutil.copytree(path, kept)
    with open_runtime(path / "home") as rt, work.working(rt):
        yield Site(rt)


_ROOM = contextlib.ExitStack()
atexit.register(_ROOM.close)
_MADE: dict[str, Path] = {}


@functools.cache
def _room() -> Path:
    """Where what is made once lies, until this process ends."""
    return _ROOM.enter_context(directory())


def _make(
    site: Site,
    here: Path,
    descriptors: Iterable[Nsd | Vnfd],
    hosts: Sequence[str],
    nsd_name: str,
    instantiate: bool,
    wishes: Wishes | None,
) -> None:
    shared = {"state_file": str(here / "world.json"), "hosts": [{"name": name} for name in hosts]}
    endpoints.add(site.rt, EndpointKind.VIM, "lab", driver="fake", config=shared)
    endpoints.add(site.rt, EndpointKind.SDN, "net", driver="fake", config={**shared, "follow_nodes": True})
    for descriptor in descriptors:
        site.onboard(descriptor)
    ns.create(site.rt, nsd_name, name="demo")
    with work.working(site.rt):
        if instantiate:
            site.done(ns.propose(site.rt, "demo", OperationKind.INSTANTIATE, wishes))
