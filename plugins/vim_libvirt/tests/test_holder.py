"""Which of several hosts has a machine: what one of them says or does not say does not hide it on another."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from manor.api import CallContext, ResourceKind, ResourceRef, VimCapability
from manor.errors import DeadlineExceeded, DriverError, Transient, Unauthorized, Unsupported
from manor_vim_libvirt import nodes
from manor_vim_libvirt.driver import LibvirtVim
from manor_vim_libvirt.host import HostView
from manor_vim_libvirt.link import Link

REF = ResourceRef(kind=ResourceKind.NODE, key="s/vnf/one")
PAIR = [{"name": name, "uri": "test:///default"} for name in ("a", "b")]


def holder(vim: LibvirtVim, within_s: float = 60.0) -> HostView:
    return vim._holder(REF, CallContext.within(within_s), VimCapability.CONSOLE)


@pytest.mark.parametrize("error", [Unsupported("no guests", capability="console"), Unauthorized("wrong key")])
def test_a_host_that_refuses_hides_no_machine_on_another(
    connect: Callable[..., LibvirtVim], monkeypatch: pytest.MonkeyPatch, error: DriverError
) -> None:
    vim = connect(hosts=PAIR)
    refused = threading.Event()

    def need(host: HostView, capability: VimCapability) -> None:
        if host.name == "b":
            refused.set()
            raise error
        assert refused.wait(60)

    monkeypatch.setattr(LibvirtVim, "_need_qemu", staticmethod(need))
    monkeypatch.setattr(Link, "is_up", property(lambda link: link.name == "b"))  # b is asked first
    monkeypatch.setattr(nodes, "lookup", lambda link, owner, key: object())
    assert holder(vim).name == "a"
    monkeypatch.setattr(nodes, "lookup", lambda link, owner, key: None)
    with pytest.raises(type(error)):
        holder(vim)

    def silent(link: Link, owner: str, key: str) -> None:
        raise Transient("host a is away")

    monkeypatch.setattr(nodes, "lookup", silent)
    with pytest.raises(Transient, match="host a is away"):
        holder(vim)


@pytest.mark.parametrize("up", ["", "a"], ids=["none is up", "one is up"])
def test_no_host_is_asked_any_more_once_it_is_too_late(
    connect: Callable[..., LibvirtVim], monkeypatch: pytest.MonkeyPatch, up: str
) -> None:
    vim = connect(hosts=PAIR)
    vim._pool.shutdown()
    vim._pool = ThreadPoolExecutor(1)
    asked, answers = [], threading.Event()

    def lookup(link: Link, owner: str, key: str) -> None:
        asked.append(link.name)
        answers.wait(60)

    monkeypatch.setattr(LibvirtVim, "_need_qemu", staticmethod(lambda host, capability: None))
    monkeypatch.setattr(Link, "is_up", property(lambda link: link.name == up))
    monkeypatch.setattr(nodes, "lookup", lookup)
    try:
        with pytest.raises(DeadlineExceeded):
            holder(vim, within_s=0.1)
    finally:
        answers.set()
    vim._pool.shutdown()
    assert "b" not in asked
