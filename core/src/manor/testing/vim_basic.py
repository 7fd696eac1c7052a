"""Twice is once, absent is removed, a change is made or refused, and looking changes nothing."""

from __future__ import annotations

import dataclasses

import pytest

from manor.api import (
    CallContext,
    NodeSpec,
    Phase,
    PowerState,
    Query,
    ResourceKind,
    ResourceRef,
    Support,
    Vim,
    spec_hash,
)
from manor.errors import Conflict
from manor.testing.vim_checks import KINDS, UP, each_kind, make, only, room, snapshot, supported
from manor.testing.vim_specs import VimSpecs, ref_of
from manor.testing.vim_world import VimWorld

__all__ = ["VimBasicTests"]


class VimBasicTests:
    """Hold for every VIM."""

    # twice is once

    @each_kind
    def test_ensure_twice_is_once(self, vim: Vim, specs: VimSpecs, ctx: CallContext, kind: ResourceKind) -> None:
        spec = make(vim, specs, ctx, kind)
        first = only(vim, spec, specs, ctx)
        again = vim.ensure(spec, ctx)
        assert again.ref == ref_of(spec), "ensure tells of what it was given"
        assert again.native_id == first.native_id
        assert snapshot([only(vim, spec, specs, ctx)]) == snapshot([first])

    @each_kind
    def test_observe_sees_what_was_ensured(
        self, vim: Vim, specs: VimSpecs, ctx: CallContext, kind: ResourceKind
    ) -> None:
        spec = make(vim, specs, ctx, kind)
        seen = only(vim, spec, specs, ctx)
        assert seen.ref == ref_of(spec)
        assert seen.owner == specs.owner
        assert seen.spec_hash == spec_hash(spec)
        assert seen.phase in UP
        assert seen.native_id

    @each_kind
    def test_query_narrows(self, vim: Vim, specs: VimSpecs, ctx: CallContext, kind: ResourceKind) -> None:
        spec = make(vim, specs, ctx, kind)
        asks = {
            "by key": specs.everything(keys=frozenset({spec.key})),
            "by kind": specs.everything(kinds=frozenset({kind}), prefix=spec.key),
            "by prefix": Query(owner=specs.owner, prefix=spec.key),
        }
        for how, query in asks.items():
            assert [o.ref.key for o in vim.observe(query, ctx)] == [spec.key], how
        others = frozenset(set(KINDS) - {kind})
        assert spec.key not in {o.ref.key for o in vim.observe(specs.everything(kinds=others), ctx)}
        assert not vim.observe(specs.everything(keys=frozenset({f"{spec.key}x"})), ctx)
        assert not vim.observe(specs.everything(keys=frozenset()), ctx)

    # change

    @each_kind
    def test_changed_spec_is_applied_or_refused(
        self, vim: Vim, specs: VimSpecs, ctx: CallContext, kind: ResourceKind
    ) -> None:
        spec = make(vim, specs, ctx, kind)
        before = only(vim, spec, specs, ctx)
        wanted = specs.changed(spec)
        refused: Conflict | None = None
        try:
            assert vim.ensure(wanted, ctx).spec_hash == spec_hash(wanted)
        except Conflict as conflict:
            refused = conflict
        if refused is not None:
            assert refused.replace, "a changed spec must be possible by removing and creating anew"
            assert refused.fields, "Conflict must name the fields that differ"
            assert snapshot([only(vim, spec, specs, ctx)]) == snapshot([before]), "a refusal changed something"
            vim.remove(ref_of(spec), ctx)
            vim.ensure(wanted, ctx)
        assert only(vim, wanted, specs, ctx).spec_hash == spec_hash(wanted)

    def test_power_follows_the_spec(self, vim: Vim, specs: VimSpecs, ctx: CallContext) -> None:
        spec = make(vim, specs, ctx, ResourceKind.NODE)
        assert isinstance(spec, NodeSpec)
        native_id = only(vim, spec, specs, ctx).native_id
        stopped = dataclasses.replace(spec, power=PowerState.STOPPED)
        vim.ensure(stopped, ctx)
        seen = only(vim, stopped, specs, ctx)
        assert (seen.phase, seen.spec_hash) == (Phase.STOPPED, spec_hash(stopped))
        vim.ensure(spec, ctx)
        seen = only(vim, spec, specs, ctx)
        assert seen.phase in UP
        assert seen.native_id == native_id, "stopping and starting is no replacement"

    # remove

    @each_kind
    def test_removed_is_gone_and_twice_succeeds(
        self, vim: Vim, specs: VimSpecs, ctx: CallContext, kind: ResourceKind
    ) -> None:
        spec = make(vim, specs, ctx, kind)
        vim.remove(ref_of(spec), ctx)
        assert not vim.observe(specs.everything(keys=frozenset({spec.key})), ctx)
        vim.remove(ref_of(spec), ctx)

    @each_kind
    def test_remove_of_the_unknown_succeeds(
        self, vim: Vim, specs: VimSpecs, ctx: CallContext, kind: ResourceKind
    ) -> None:
        supported(vim, kind, ctx)
        vim.remove(ResourceRef(kind=kind, key=specs.key("never", "made"), host=specs.host), ctx)

    def test_remove_looks_on_all_hosts_when_none_is_named(self, vim: Vim, specs: VimSpecs, ctx: CallContext) -> None:
        spec = make(vim, specs, ctx, ResourceKind.NODE)
        vim.remove(ResourceRef(kind=spec.kind, key=spec.key), ctx)
        assert not vim.observe(specs.everything(keys=frozenset({spec.key})), ctx)

    @each_kind
    def test_remove_spares_the_neighbour(self, vim: Vim, specs: VimSpecs, ctx: CallContext, kind: ResourceKind) -> None:
        gone, stays = make(vim, specs, ctx, kind, "a"), make(vim, specs, ctx, kind, "a-b")
        before = only(vim, stays, specs, ctx)
        vim.remove(ref_of(gone), ctx)
        assert snapshot([only(vim, stays, specs, ctx)]) == snapshot([before])

    @each_kind
    def test_made_again_after_removal(self, vim: Vim, specs: VimSpecs, ctx: CallContext, kind: ResourceKind) -> None:
        spec = make(vim, specs, ctx, kind)
        vim.remove(ref_of(spec), ctx)
        vim.ensure(spec, ctx)
        assert only(vim, spec, specs, ctx).phase in UP

    def test_removal_leaves_nothing_on_the_platform(
        self, vim: Vim, specs: VimSpecs, ctx: CallContext, world: VimWorld
    ) -> None:
        before = set(world.inventory())
        stack = specs.stack(ResourceKind.NODE)
        for spec in stack:
            vim.ensure(spec, ctx)
        assert set(world.inventory()) - before, "the inventory does not show what was made"
        for spec in reversed(stack):
            vim.remove(ref_of(spec), ctx)
        assert set(world.inventory()) == before

    # observe

    def test_looking_changes_nothing(self, vim: Vim, specs: VimSpecs, ctx: CallContext) -> None:
        make(vim, specs, ctx, ResourceKind.NODE)
        before = snapshot(vim.observe(specs.everything(), ctx))
        for _ in range(3):
            vim.capabilities(ctx)
            assert snapshot(vim.observe(specs.everything(), ctx)) == before

    def test_hosts_are_told(self, vim: Vim, specs: VimSpecs, ctx: CallContext) -> None:
        capabilities = vim.capabilities(ctx)
        host = next((h for h in capabilities.hosts if h.name == specs.host), None)
        assert host is not None, f"capabilities list no host {specs.host}"
        assert host.reachable
        assert host.vcpus > 0
        assert 0 < host.memory_free_bytes <= host.memory_bytes
        for capability, support in capabilities.support.items():
            if support is Support.UNSUPPORTED:
                assert capabilities.detail.get(capability), f"no reason why {capability} is unsupported"
        assert all(host.lacks.values()), f"no reason why {specs.host} lacks something"

    def test_memory_that_a_node_was_promised_is_not_free_off_or_on(
        self, vim: Vim, specs: VimSpecs, ctx: CallContext
    ) -> None:
        supported(vim, ResourceKind.NODE, ctx)
        promised = _most_of(room(vim, specs, ctx).memory_free_bytes)
        *base, node = specs.stack(ResourceKind.NODE, memory_bytes=promised)
        for spec in base:
            vim.ensure(spec, ctx)
        for power in (PowerState.STOPPED, PowerState.STARTED):
            vim.ensure(dataclasses.replace(node, power=power), ctx)
            host = room(vim, specs, ctx)
            assert host.memory_free_bytes <= host.memory_bytes - promised, f"promised once more while it is {power}"

    def test_storage_that_a_volume_was_promised_is_not_free(self, vim: Vim, specs: VimSpecs, ctx: CallContext) -> None:
        supported(vim, ResourceKind.VOLUME, ctx)
        promised = _most_of(room(vim, specs, ctx).storage_free_bytes)
        if not promised:
            pytest.skip("the host tells of no storage")
        vim.ensure(dataclasses.replace(specs.volume("thin"), size_bytes=promised), ctx)
        host = room(vim, specs, ctx)
        assert host.storage_free_bytes <= host.storage_bytes - promised


def _most_of(size_bytes: int) -> int:
    """So much that it shows when it is promised twice, on a host of which not half is in use; in whole MiB."""
    return size_bytes // 4 * 3 >> 20 << 20
