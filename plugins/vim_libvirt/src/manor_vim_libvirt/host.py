"""One hypervisor with what is known about it, and the verbs of all kinds of resources on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from manor.api import (
    CallContext,
    DriverEnvironment,
    ImageSpec,
    NetworkSpec,
    NodeSpec,
    Observed,
    Query,
    ResourceKind,
    ResourceRef,
    SnapshotSpec,
    VolumeSpec,
)
from manor.errors import DriverError, Unsupported
from manor_vim_libvirt import images, networks, nodes, snapshots, volumes
from manor_vim_libvirt.accel import Truth, Truths, identity_of, try_kvm
from manor_vim_libvirt.config import Accel, HostConfig, LibvirtConfig
from manor_vim_libvirt.domain_xml import Target
from manor_vim_libvirt.facts import Facts, read_facts
from manor_vim_libvirt.link import Link
from manor_vim_libvirt.names import READY, Sort, owner_tag
from manor_vim_libvirt.ovs import Switch
from manor_vim_libvirt.pool import Pool
from manor_vim_libvirt.room import refuse_impossible

__all__ = ["HostView"]


class HostView:
    """One host of the VIM."""

    def __init__(self, config: HostConfig, vim: LibvirtConfig, env: DriverEnvironment) -> None:
        self.config = config
        self.name = config.name
        self.link = Link(config, keepalive_s=vim.keepalive_s)
        self._vim = vim
        self.owner = env.owner
        """The installation's owner tag."""
        self._state_dir = env.state_dir
        self._truths = Truths(env.state_dir)
        self._facts: tuple[int, Facts] | None = None
        self._truth: Truth | None = None
        self._datapath: str | None = None

    # ---- what is known ----

    def facts(self, *, fresh: bool = False) -> Facts:
        """The host's properties, asked once per connection, or now."""
        connection = self.link.connection()
        known = self._facts
        if known is None or known[0] != self.link.generation or fresh:
            self._facts = known = (self.link.generation, read_facts(connection))
            if self._truth is not None and self._truth.identity != identity_of(self.link, known[1]):
                self._truth = None
        return known[1]

    def truth(self, ctx: CallContext) -> Truth:
        """Whether guests run under KVM here: as configured, as remembered, or as tried now."""
        facts = self.facts()
        if self._truth is not None:
            return self._truth
        identity = identity_of(self.link, facts)
        if self._vim.accel is not Accel.AUTO or not facts.is_qemu:
            self._truth = Truth(accelerator=self._told(facts), reason="as configured", identity=identity)
            return self._truth
        self._truth = truth = self._truths.found(
            self.name, identity, lambda: try_kvm(self.link, facts, ctx, limit_s=self._vim.trial_s), ctx
        )
        return truth

    def _told(self, facts: Facts) -> str:
        return str(self._vim.accel) if facts.is_qemu else facts.driver.lower()

    def pool(self, owner: str) -> Pool:
        """The files of an owner."""
        return Pool(self.link, owner)

    def switch(self) -> Switch | None:
        """The host's Open vSwitch; None where the hypervisor has none or its database is unknown."""
        if not self.facts().is_qemu or not self.config.switch_database:
            return None
        return Switch(self.name, self.config.switch_database)

    def _target(self, ctx: CallContext, *, has_ports: bool) -> Target:
        facts = self.facts()
        if not facts.is_qemu:
            return Target(domain_type=facts.driver.lower(), arch=facts.arch, openvswitch=False)
        if has_ports and self._datapath is None:
            switch = self.switch()
            bridge = switch.bridge(self.config.bridge, ctx) if switch is not None else None
            self._datapath = bridge.datapath if bridge is not None else ""
        return Target(
            domain_type="kvm" if self.truth(ctx).accelerator == "kvm" else "qemu",
            arch=facts.arch,
            offload=self._datapath != "netdev",
            nested=facts.nested,
        )

    # ---- verbs ----

    def ensure(
        self, spec: ImageSpec | NetworkSpec | VolumeSpec | NodeSpec | SnapshotSpec, ctx: CallContext
    ) -> Observed:
        """Make one resource."""
        pool = self.pool(spec.owner)
        if isinstance(spec, NodeSpec):
            return self._ensure_node(pool, spec, ctx)
        if isinstance(spec, NetworkSpec):
            made = networks.ensure(self.link, self.switch(), spec, ctx)
            self._datapath = str(made.detail.get("datapath", ""))
            return made
        if not self.facts().is_qemu and isinstance(spec, ImageSpec):
            raise Unsupported(f"image {spec.key}: {self.facts().driver} takes no uploads", capability="image")
        if isinstance(spec, SnapshotSpec):
            if not self.facts().is_qemu:
                raise Unsupported(f"snapshot {spec.key}: not with {self.facts().driver}", capability="snapshot")
            return dataclasses.replace(snapshots.ensure(self.link, pool, spec, ctx), owner=spec.owner)
        if isinstance(spec, ImageSpec):
            return dataclasses.replace(images.ensure(self.link, pool, spec, ctx, self._state_dir), owner=spec.owner)
        return dataclasses.replace(volumes.ensure(self.link, pool, spec, ctx), owner=spec.owner)

    def _ensure_node(self, pool: Pool, spec: NodeSpec, ctx: CallContext) -> Observed:
        facts = self.facts()
        if spec.cpu.nested and self.truth(ctx).accelerator != "kvm":
            facts = dataclasses.replace(facts, nested="")
        refuse_impossible(spec, facts, self.name)
        return nodes.ensure(
            self.link,
            pool,
            spec,
            ctx,
            facts=facts,
            target=self._target(ctx, has_ports=bool(spec.ports)),
            switch=self.switch() if spec.ports else None,
        )

    def remove(self, ref: ResourceRef, owner: str, ctx: CallContext) -> None:
        """Remove one resource; what is empty then goes too."""
        pool = self.pool(owner)
        if ref.kind is ResourceKind.NETWORK:
            networks.remove(self.link, self.switch(), owner, ref.key, ctx)
            self._datapath = None
            return
        if ref.kind is ResourceKind.NODE:
            nodes.remove(self.link, pool, owner, ref.key, ctx, switch=self.switch())
        elif ref.kind is ResourceKind.VOLUME:
            volumes.remove(pool, ref.key, ctx)
        elif ref.kind is ResourceKind.SNAPSHOT:
            snapshots.remove(pool, ref.key, ctx)
        else:
            images.remove(pool, ref.key, ctx, lambda path: nodes.booting_from(self.link, owner, path))
        pool.directory.collect(ctx)

    def observe(self, query: Query, ctx: CallContext) -> list[Observed]:
        """What is here of the query's owner."""

        def wants(kind: ResourceKind) -> bool:
            return query.kinds is None or kind in query.kinds

        pool = self.pool(query.owner)
        found: list[Observed] = []
        if wants(ResourceKind.IMAGE) or wants(ResourceKind.VOLUME) or wants(ResourceKind.SNAPSHOT):
            found += self._observe_files(pool, query)
        if wants(ResourceKind.NETWORK):
            found += self._observe_networks(query, ctx)
        if wants(ResourceKind.NODE):
            found += self._observe_nodes(pool, query, ctx)
        return [item for item in found if query.admits(item.ref)]

    def _observe_files(self, pool: Pool, query: Query) -> Iterable[Observed]:
        names = [name for name in pool.names() if name.tag == owner_tag(query.owner)]
        ready = {name.key for name in names if name.sort in READY}
        for key in snapshots.parents(names):
            if query.admits(ResourceRef(kind=ResourceKind.SNAPSHOT, key=key)):
                yield dataclasses.replace(snapshots.observed(self.link, pool, key, names), owner=query.owner)
        for name in names:
            kind = {Sort.IMAGE: ResourceKind.IMAGE, Sort.VOLUME: ResourceKind.VOLUME}.get(name.sort)
            if kind is None or not query.admits(ResourceRef(kind=kind, key=name.key)):
                continue
            if kind is ResourceKind.IMAGE:
                item = images.observed(self.link, pool, name, is_ready=name.key in ready, looks=True)
            else:
                item = volumes.observed(self.link, pool, name)
            yield dataclasses.replace(item, owner=query.owner)

    def _observe_networks(self, query: Query, ctx: CallContext) -> Iterable[Observed]:
        ours = networks.marked(self.link, query.owner)
        switch = self.switch() if ours else None
        bridge = switch.bridge(self.config.bridge, ctx) if switch is not None else None
        for network, mark in ours:
            item = networks.observed_or_none(self.link, network, mark, bridge=bridge, has_switch=switch is not None)
            if item is not None:
                yield item

    def _observe_nodes(self, pool: Pool, query: Query, ctx: CallContext) -> Iterable[Observed]:
        ours = list(nodes.marked(self.link, query.owner, query.keys))
        switch = self.switch() if any(mark.ports for _, mark in ours) else None
        plugged: set[str] | None = None
        if switch is not None:
            try:
                plugged = switch.plugged(ctx)
            except DriverError as error:
                # The machines are what is asked for; a switch that does not answer must not hide them.
                ctx.log.warning("host %s: %s", self.name, error.message)
        for domain, mark in ours:
            item = nodes.observed_or_none(self.link, domain, mark, pool=pool, plugged=plugged)
            if item is not None:
                yield item
