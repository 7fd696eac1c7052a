"""Steps that the VIM kit's tests share: make a resource, look at it alone, compare what must not change."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from manor.api import CallContext, Host, Observed, Phase, ResourceKind, ResourceSpec, Vim, VimCapability
from manor.testing.conformance import require
from manor.testing.vim_specs import VimSpecs

__all__ = ["KINDS", "UP", "at_once", "each_kind", "eventually", "make", "only", "room", "snapshot", "supported"]

KINDS = (ResourceKind.IMAGE, ResourceKind.NETWORK, ResourceKind.VOLUME, ResourceKind.NODE)
each_kind = pytest.mark.parametrize("kind", KINDS, ids=str)
UP = (Phase.ACTIVE, Phase.PENDING)


def supported(vim: Vim, kind: ResourceKind, ctx: CallContext) -> None:
    """Skip where the driver does not claim this kind, or for a node one of the kinds it stands on."""
    require(vim, VimCapability(str(kind)), ctx)
    if kind is ResourceKind.NODE:
        require(vim, VimCapability.NETWORK, ctx)


def make(vim: Vim, specs: VimSpecs, ctx: CallContext, kind: ResourceKind, name: str = "a") -> ResourceSpec:
    """Ensure a resource of this kind with all that it stands on; its spec."""
    supported(vim, kind, ctx)
    stack = specs.stack(kind, name)
    for spec in stack:
        vim.ensure(spec, ctx)
    return stack[-1]


def only(vim: Vim, spec: ResourceSpec, specs: VimSpecs, ctx: CallContext) -> Observed:
    """The one resource of this spec's key."""
    found = vim.observe(specs.everything(keys=frozenset({spec.key}), kinds=frozenset({spec.kind})), ctx)
    assert len(found) == 1, f"{spec.key} is observed {len(found)} times"
    return found[0]


def room(vim: Vim, specs: VimSpecs, ctx: CallContext) -> Host:
    """The host that the specs name, as it is now."""
    return next(host for host in vim.capabilities(ctx).hosts if host.name == specs.host)


def snapshot(observed: Sequence[Observed]) -> list[tuple[str, ...]]:
    """What must not change when nothing is changed; counters and the like may."""
    # A node that is starting may become active meanwhile.
    return sorted(
        (
            o.ref.kind,
            o.ref.key,
            o.ref.host,
            o.owner,
            o.native_id,
            o.spec_hash,
            "up" if o.phase in UP else o.phase,
        )
        for o in observed
    )


def eventually(seconds: float, what: str, holds: Callable[[], bool]) -> None:
    """Wait until ``holds()``, for at most ``seconds``."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(min(0.2, seconds / 50))


def at_once(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Results or exceptions of calls that are made at the same time, in order."""

    def outcome(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception as error:  # the test judges it
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(outcome, calls))
