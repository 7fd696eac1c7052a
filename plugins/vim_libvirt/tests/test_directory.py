"""The storage pool as one call sees it while another one removes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from manor.api import CallContext
from manor_vim_libvirt import directory
from manor_vim_libvirt.driver import LibvirtVim


def test_a_pool_that_is_just_being_removed_is_not_one_in_a_wrong_place(
    connect: Callable[..., LibvirtVim], monkeypatch: pytest.MonkeyPatch
) -> None:
    vim = connect("manor/removed", uri="test:///default", name="host-1")
    [host] = vim._hosts.values()
    ours = host.pool("manor/removed").directory
    list_ = directory._listed

    def listed(pool: Any) -> set[str]:
        found = list_(pool)
        monkeypatch.undo()
        pool.setAutostart(False)  # as the other call does it
        for mark in found:
            pool.storageVolLookupByName(mark).delete(0)
        return found

    def work() -> None:
        ctx = CallContext.within(60)
        assert ours.ensure(ctx).autostart()
        monkeypatch.setattr(directory, "_listed", listed)
        try:
            assert ours.room_bytes() is not None
        finally:
            ours.collect(ctx)
        assert ours.find() is None

    host.link.run(work, key="", doing="testing", effect=False)
