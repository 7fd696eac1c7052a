"""What a VIM does when others, time, threads or the platform play against it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from manor.api import (
    CallContext,
    GuestAccess,
    Observed,
    ResourceKind,
    ResourceRef,
    Vim,
    VimCapability,
)
from manor.errors import DeadlineExceeded, DriverError, NotFound, Transient, Unreachable
from manor.testing.conformance import require
from manor.testing.vim_checks import UP, at_once, each_kind, eventually, make, only, snapshot, supported
from manor.testing.vim_specs import VimSpecs, ref_of
from manor.testing.vim_world import VimWorld

__all__ = ["VimMisfortuneTests"]


class VimMisfortuneTests:
    """Hold for every VIM, as far as its ``world`` can make the misfortune."""

    # others' resources

    @each_kind
    def test_foreign_is_neither_seen_nor_touched(
        self, vim: Vim, specs: VimSpecs, ctx: CallContext, world: VimWorld, kind: ResourceKind
    ) -> None:
        supported(vim, kind, ctx)
        stranger = world.stranger()
        theirs = dataclasses.replace(specs, owner="manor/stranger")
        stack = theirs.stack(kind)
        try:
            for spec in stack:
                stranger.ensure(spec, ctx)
            before = snapshot(stranger.observe(theirs.everything(), ctx))
            assert before, "the stranger sees its own"
            assert not vim.observe(specs.everything(), ctx)
            for spec in reversed(stack):
                vim.remove(ref_of(spec), ctx)
            assert snapshot(stranger.observe(theirs.everything(), ctx)) == before
        finally:
            for spec in reversed(stack):
                stranger.remove(ref_of(spec), ctx)
            stranger.close()

    # misfortune

    def test_stopped_behind_our_back(self, vim: Vim, specs: VimSpecs, ctx: CallContext, world: VimWorld) -> None:
        spec = make(vim, specs, ctx, ResourceKind.NODE)
        before = only(vim, spec, specs, ctx)
        world.stop(before)
        eventually(
            specs.settle_s, "observe tells that the node stopped", lambda: only(vim, spec, specs, ctx).phase not in UP
        )
        vim.ensure(spec, ctx)
        after = only(vim, spec, specs, ctx)
        assert after.phase in UP
        assert after.spec_hash == before.spec_hash

    @each_kind
    def test_destroyed_behind_our_back(
        self, vim: Vim, specs: VimSpecs, ctx: CallContext, world: VimWorld, kind: ResourceKind
    ) -> None:
        spec = make(vim, specs, ctx, kind)
        world.destroy(only(vim, spec, specs, ctx))
        eventually(
            specs.settle_s,
            "observe tells that it is gone or broken",
            lambda: all(o.phase not in UP for o in vim.observe(specs.everything(keys=frozenset({spec.key})), ctx)),
        )
        vim.ensure(spec, ctx)
        assert only(vim, spec, specs, ctx).phase in UP

    def test_reconnects(self, vim: Vim, specs: VimSpecs, ctx: CallContext, world: VimWorld) -> None:
        spec = make(vim, specs, ctx, ResourceKind.NETWORK)
        world.disconnect()
        for _ in range(5):
            try:
                assert only(vim, spec, specs, ctx).ref == ref_of(spec)
                return
            except Transient as error:
                time.sleep(min(error.retry_after_s, 1.0))
        pytest.fail("no answer after five tries")

    def test_a_dead_host_is_not_an_empty_one(
        self, vim: Vim, specs: VimSpecs, ctx: CallContext, world: VimWorld
    ) -> None:
        supported(vim, ResourceKind.NETWORK, ctx)
        with world.beside_a_dead_host(specs.owner, "dead-host") as half:
            assert {host.name: host.reachable for host in half.capabilities(ctx).hosts}["dead-host"] is False
            spec = specs.network("kept")
            half.ensure(spec, ctx)
            with pytest.raises(Unreachable) as caught:
                half.observe(specs.everything(), ctx)
            assert caught.value.hosts.keys() == {"dead-host"}
            assert [one.ref for one in caught.value.found] == [ref_of(spec)], "the others are told all the same"
            alone = half.observe(specs.everything(hosts=frozenset({spec.host})), ctx)
            assert [one.ref for one in alone] == [ref_of(spec)], "who is not asked need not answer"
            for host in ("dead-host", ""):
                with pytest.raises(DriverError):  # nobody knows that it is absent there
                    half.remove(ResourceRef(kind=ResourceKind.NETWORK, key=specs.key("vl", "there"), host=host), ctx)
            half.remove(ref_of(spec), ctx)
            assert not half.observe(specs.everything(hosts=frozenset({spec.host})), ctx)

    def test_a_dead_host_keeps_nobody_from_a_guest(
        self, vim: Vim, specs: VimSpecs, ctx: CallContext, world: VimWorld
    ) -> None:
        require(vim, VimCapability.GUEST_ACCESS, ctx)
        with world.beside_a_dead_host(specs.owner, "dead-host") as half:
            assert isinstance(half, GuestAccess)
            spec = make(half, specs, ctx, ResourceKind.NODE)
            half.guest_ping(ResourceRef(kind=ResourceKind.NODE, key=spec.key), ctx)
            with pytest.raises(DriverError) as caught:
                half.guest_ping(ResourceRef(kind=ResourceKind.NODE, key=specs.key("vnf", "there")), ctx)
            assert not isinstance(caught.value, NotFound), "it may be on the dead one"

    def test_no_time_left_means_no_effect(self, vim: Vim, specs: VimSpecs, ctx: CallContext) -> None:
        spec = make(vim, specs, ctx, ResourceKind.NETWORK, "kept")
        late = CallContext.within(-1.0)
        before = snapshot(vim.observe(specs.everything(), ctx))
        calls: list[tuple[str, Any]] = [
            ("ensure", lambda: vim.ensure(specs.network("late"), late)),
            ("remove", lambda: vim.remove(ref_of(spec), late)),
            ("observe", lambda: vim.observe(specs.everything(), late)),
            ("capabilities", lambda: vim.capabilities(late)),
        ]
        for verb, call in calls:
            try:
                call()
            except DeadlineExceeded:
                continue
            pytest.fail(f"{verb} ignores its deadline")
        assert snapshot(vim.observe(specs.everything(), ctx)) == before

    def test_missing_foundation_is_one_of_our_errors(self, vim: Vim, specs: VimSpecs, ctx: CallContext) -> None:
        supported(vim, ResourceKind.NODE, ctx)
        base = specs.boot_base("orphan")
        for spec in base:
            vim.ensure(spec, ctx)
        node = specs.node("orphan", network=specs.network("nowhere"), base=base)
        with pytest.raises(DriverError) as caught:
            vim.ensure(node, ctx)
        assert node.key in str(caught.value), "the message must name the resource"
        assert "\n" not in str(caught.value)
        assert not vim.observe(specs.everything(keys=frozenset({node.key})), ctx), "a failed ensure left something"

    def test_unknown_host_is_one_of_our_errors(self, vim: Vim, specs: VimSpecs, ctx: CallContext) -> None:
        supported(vim, ResourceKind.NETWORK, ctx)
        spec = dataclasses.replace(specs.network("astray"), host="no-such-host")
        with pytest.raises(DriverError) as caught:
            vim.ensure(spec, ctx)
        assert "no-such-host" in str(caught.value)

    def test_secrets_stay_secret(self, vim: Vim, specs: VimSpecs, ctx: CallContext, secrets: Sequence[str]) -> None:
        shown = [repr(vim)]
        try:
            vim.ensure(dataclasses.replace(specs.network("astray"), host="no-such-host"), ctx)
        except DriverError as error:
            shown += [str(error), repr(error), error.hint]
        shown += [repr(vim.capabilities(ctx)), repr(vim.observe(specs.everything(), ctx))]
        for secret in secrets:
            assert not [text for text in shown if secret in text]

    # many at once

    def test_one_key_from_many_threads_is_one(self, vim: Vim, specs: VimSpecs, ctx: CallContext) -> None:
        stack = specs.stack(ResourceKind.NODE)
        for spec in stack[:-1]:
            vim.ensure(spec, ctx)
        results = at_once([lambda: vim.ensure(stack[-1], ctx)] * specs.parallel)
        errors = [r for r in results if isinstance(r, Exception)]
        assert all(isinstance(error, Transient) for error in errors), errors
        assert len(errors) < len(results), "none of the calls succeeded"
        assert len({r.native_id for r in results if isinstance(r, Observed)}) == 1
        only(vim, stack[-1], specs, ctx)

    def test_many_keys_from_many_threads_are_many(self, vim: Vim, specs: VimSpecs, ctx: CallContext) -> None:
        supported(vim, ResourceKind.VOLUME, ctx)
        volumes = [specs.volume(f"v{number}") for number in range(specs.parallel)]
        results = at_once([partial(vim.ensure, spec, ctx) for spec in volumes])
        assert not [r for r in results if isinstance(r, Exception)]
        assert {o.ref.key for o in vim.observe(specs.everything(), ctx)} == {spec.key for spec in volumes}
        assert len({o.native_id for o in vim.observe(specs.everything(), ctx)}) == len(volumes)
