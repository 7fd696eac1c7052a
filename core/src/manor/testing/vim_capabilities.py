"""Two-way honesty: what is claimed FULL works, what is claimed UNSUPPORTED refuses and leaves no trace."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from manor.api import (
    BootSource,
    CallContext,
    Console,
    CpuPolicy,
    Eventful,
    Firmware,
    GuestAccess,
    Metered,
    NodeSpec,
    Phase,
    PowerState,
    ResourceKind,
    ResourceRef,
    SnapshotSpec,
    Support,
    Vim,
    VimCapability,
    VolumeSpec,
    spec_hash,
)
from manor.errors import NotFound, Transient, Unsupported
from manor.testing.conformance import require
from manor.testing.vim_checks import UP, eventually, make, only, room, snapshot, supported
from manor.testing.vim_specs import VimSpecs, ref_of

__all__ = ["VimCapabilityTests"]

_WISHES: dict[VimCapability, Callable[[NodeSpec], NodeSpec]] = {
    VimCapability.DIRECT_BOOT: lambda node: (
        node if node.boot.kernel else dataclasses.replace(node, boot=BootSource(kernel=f"{node.key}/kernel"))
    ),
    VimCapability.CLOUD_INIT: lambda node: dataclasses.replace(
        node, user_data="#cloud-config\nhostname: kit\n", seed=True
    ),
    VimCapability.UEFI: lambda node: dataclasses.replace(node, firmware=Firmware.UEFI),
    VimCapability.CPU_PINNING: lambda node: dataclasses.replace(node, cpu=CpuPolicy(dedicated=True)),
    VimCapability.HUGEPAGES: lambda node: dataclasses.replace(node, cpu=CpuPolicy(hugepage_bytes=2 << 20)),
    VimCapability.NUMA: lambda node: dataclasses.replace(node, cpu=CpuPolicy(numa_nodes=1)),
    VimCapability.WATCHDOG: lambda node: dataclasses.replace(node, watchdog=True),
    VimCapability.SRIOV: lambda node: dataclasses.replace(
        node, ports=tuple(dataclasses.replace(port, vnic_type="direct") for port in node.ports)
    ),
    VimCapability.NESTED: lambda node: dataclasses.replace(node, cpu=CpuPolicy(nested=True)),
}
"""How a node asks for a capability."""

_PROTOCOLS: dict[VimCapability, type[Any]] = {
    VimCapability.METERING: Metered,
    VimCapability.CONSOLE: Console,
    VimCapability.GUEST_ACCESS: GuestAccess,
    VimCapability.EVENTS: Eventful,
}


class VimCapabilityTests:
    """One claim, one test; UNKNOWN claims nothing and is not tested."""

    @pytest.mark.parametrize("capability", _WISHES, ids=str)
    def test_claim_about_nodes_is_true(
        self, vim: Vim, specs: VimSpecs, ctx: CallContext, capability: VimCapability
    ) -> None:
        supported(vim, ResourceKind.NODE, ctx)
        claim = vim.capabilities(ctx).has(capability)
        if claim is Support.UNKNOWN:
            pytest.skip(f"claims {capability} {claim}")
        if capability is VimCapability.DIRECT_BOOT and claim is Support.FULL and not specs.kernel:
            pytest.skip("specs give no kernel")
        base, network = specs.boot_base(), specs.network()
        for spec in (*base, network):
            vim.ensure(spec, ctx)
        node = _WISHES[capability](specs.node(network=network, base=base))
        if claim is Support.FULL:
            vim.ensure(node, ctx)
            assert only(vim, node, specs, ctx).phase in UP
            return
        before = snapshot(vim.observe(specs.everything(), ctx))
        with pytest.raises(Unsupported) as caught:
            vim.ensure(node, ctx)
        assert caught.value.capability == capability
        assert snapshot(vim.observe(specs.everything(), ctx)) == before, "a refusal left something"

    @pytest.mark.parametrize(
        "kind", [ResourceKind.IMAGE, ResourceKind.NETWORK, ResourceKind.VOLUME, ResourceKind.NODE], ids=str
    )
    def test_unsupported_kind_refuses(self, vim: Vim, specs: VimSpecs, ctx: CallContext, kind: ResourceKind) -> None:
        if vim.capabilities(ctx).has(str(kind)) is not Support.UNSUPPORTED:
            pytest.skip(f"does not claim {kind} unsupported")
        with pytest.raises(Unsupported):
            vim.ensure(specs.stack(kind)[-1], ctx)
        assert not vim.observe(specs.everything(), ctx)

    def test_segments_and_chains_are_refused(self, vim: Vim, specs: VimSpecs, ctx: CallContext) -> None:
        from manor.api import SegmentSpec

        with pytest.raises(Unsupported):
            vim.ensure(SegmentSpec(key=specs.key("vl", "s"), owner=specs.owner, name="s", ports=()), ctx)

    @pytest.mark.parametrize("capability", _PROTOCOLS, ids=str)
    def test_claim_and_protocol_agree(
        self, vim: Vim, specs: VimSpecs, ctx: CallContext, capability: VimCapability
    ) -> None:
        claim = vim.capabilities(ctx).has(capability)
        if claim is Support.FULL:
            assert isinstance(vim, _PROTOCOLS[capability]), f"claims {capability} without its methods"
        elif claim is Support.UNSUPPORTED and isinstance(vim, _PROTOCOLS[capability]):
            ref = ResourceRef(kind=ResourceKind.NODE, key=specs.key("vnf", "none"), host=specs.host)
            with pytest.raises(Unsupported):
                _use(vim, capability, ref, ctx)

    @pytest.mark.parametrize("capability", [VimCapability.CONSOLE, VimCapability.GUEST_ACCESS], ids=str)
    def test_absent_node_is_not_found(
        self, vim: Vim, specs: VimSpecs, ctx: CallContext, capability: VimCapability
    ) -> None:
        require(vim, capability, ctx)
        ref = ResourceRef(kind=ResourceKind.NODE, key=specs.key("vnf", "none"), host=specs.host)
        with pytest.raises(NotFound):
            _use(vim, capability, ref, ctx)

    def test_huge_pages_are_told_and_promised_once(self, vim: Vim, specs: VimSpecs, ctx: CallContext) -> None:
        require(vim, VimCapability.HUGEPAGES, ctx)
        supported(vim, ResourceKind.NODE, ctx)
        before = room(vim, specs, ctx)
        size = min(before.hugepages_free_bytes, default=0)
        assert size, f"claims {VimCapability.HUGEPAGES}, and {specs.host} tells of no size"
        wanted = -(-specs.memory_bytes // size) * size
        if before.hugepages_free_bytes[size] < wanted:
            pytest.skip(f"{specs.host} has no {wanted} bytes of such pages free")
        *base, node = specs.stack(ResourceKind.NODE, memory_bytes=wanted, cpu=CpuPolicy(hugepage_bytes=size))
        for spec in base:
            vim.ensure(spec, ctx)
        for power in (PowerState.STOPPED, PowerState.STARTED):
            vim.ensure(dataclasses.replace(node, power=power), ctx)
            left = room(vim, specs, ctx).hugepages_free_bytes[size]
            assert left <= before.hugepages_free_bytes[size] - wanted, f"promised once more while it is {power}"

    def test_samples_are_of_running_nodes(self, vim: Vim, specs: VimSpecs, ctx: CallContext) -> None:
        require(vim, VimCapability.METERING, ctx)
        assert isinstance(vim, Metered)
        spec = make(vim, specs, ctx, ResourceKind.NODE)
        absent = ResourceRef(kind=ResourceKind.NODE, key=specs.key("vnf", "none"), host=specs.host)
        samples = list(vim.samples([only(vim, spec, specs, ctx).ref, absent], ctx))
        assert samples, "a running node measures something"
        for sample in samples:
            assert sample.key.startswith(spec.key) or sample.key.startswith(f"{specs.run}/"), sample
            assert sample.key != absent.key
            assert sample.unit
            assert sample.time_s > 1e9, "seconds since the epoch"

    def test_a_snapshot_is_taken_once_fills_volumes_and_needs_nothing_any_more(
        self, vim: Vim, specs: VimSpecs, ctx: CallContext
    ) -> None:
        require(vim, VimCapability.SNAPSHOT, ctx)
        supported(vim, ResourceKind.VOLUME, ctx)
        supported(vim, ResourceKind.NODE, ctx)
        base, network = specs.boot_base(), specs.network()
        volume = next((spec for spec in base if isinstance(spec, VolumeSpec)), specs.volume("data"))
        for spec in (*base, volume, network):
            vim.ensure(spec, ctx)
        node = specs.node(network=network, base=tuple(dict.fromkeys((*base, volume))))
        vim.ensure(node, ctx)
        taken = SnapshotSpec(
            key=specs.key("snapshot", "s"),
            owner=specs.owner,
            host=specs.host,
            name="s",
            node=node.key,
            volumes=(volume.key,),
        )
        first = vim.ensure(taken, ctx)
        assert (first.phase, first.spec_hash) == (Phase.ACTIVE, spec_hash(taken))
        assert vim.ensure(taken, ctx).native_id == first.native_id
        for gone in (node, volume):
            vim.remove(ref_of(gone), ctx)
        assert only(vim, taken, specs, ctx).phase is Phase.ACTIVE, "it does not depend on what it was taken of"
        vim.ensure(dataclasses.replace(volume, snapshot=taken.key), ctx)
        vim.remove(ref_of(taken), ctx)
        vim.remove(ref_of(taken), ctx)
        assert only(vim, volume, specs, ctx).spec_hash == spec_hash(volume), "what filled it is not compared"
        with pytest.raises(NotFound):
            vim.ensure(dataclasses.replace(taken, node=specs.key("vnf", "none")), ctx)

    def test_console_tells_how(self, vim: Vim, specs: VimSpecs, ctx: CallContext) -> None:
        require(vim, VimCapability.CONSOLE, ctx)
        assert isinstance(vim, Console)
        spec = make(vim, specs, ctx, ResourceKind.NODE)
        info = vim.console(only(vim, spec, specs, ctx).ref, ctx)
        assert info.argv or info.log_path

    def test_guest_answers(self, vim: Vim, specs: VimSpecs, ctx: CallContext) -> None:
        require(vim, VimCapability.GUEST_ACCESS, ctx)
        if not specs.boots:
            pytest.skip("specs.boots is false: no guest agent to talk to")
        assert isinstance(vim, GuestAccess)
        spec = make(vim, specs, ctx, ResourceKind.NODE)
        ref = only(vim, spec, specs, ctx).ref
        guest = vim

        def answers() -> bool:
            try:
                return guest.guest_ping(ref, ctx)
            except Transient:
                return False

        eventually(specs.boot_timeout_s, "the guest agent answers", answers)
        result = vim.guest_exec(ref, ["echo", "hello there"], ctx)
        assert (result.exit_code, b"hello there" in result.stdout) == (0, True)


def _use(vim: Any, capability: VimCapability, ref: ResourceRef, ctx: CallContext) -> None:
    match capability:
        case VimCapability.METERING:
            list(vim.samples([ref], ctx))
        case VimCapability.CONSOLE:
            vim.console(ref, ctx)
        case _:
            vim.guest_exec(ref, ["true"], ctx)
