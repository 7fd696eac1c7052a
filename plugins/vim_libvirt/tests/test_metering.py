"""What is measured costs a host one call a period, whatever the number of its machines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from manor.api import CallContext, ResourceKind, ResourceRef
from manor_vim_libvirt.driver import LibvirtVim
from manor_vim_libvirt.link import Link
from manor_vim_libvirt.names import domain_uuid

OWNER = "manor/metering"
DOMAIN = "<domain type='test'><name>{0}</name><uuid>{1}</uuid><memory>64</memory><os><type>hvm</type></os></domain>"


class Listened:
    """A connection that remembers what it was asked; libvirt's in-memory hypervisor knows no statistics of its own."""

    def __init__(self, connection: Any, asked: list[str]) -> None:
        self._connection = connection
        self._asked = asked

    def getAllDomainStats(self, *args: Any) -> Any:
        self._asked.append("getAllDomainStats")
        found = self._connection.getAllDomainStats(*args)
        return [(domain, {**stats, "balloon.current": 64}) for domain, stats in found]

    def __getattr__(self, name: str) -> Any:
        self._asked.append(name)
        return getattr(self._connection, name)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Calls of the driver's connection, in order."""
    asked: list[str] = []
    opened = Link.connection
    monkeypatch.setattr(Link, "connection", lambda link: Listened(opened(link), asked))
    monkeypatch.setattr(LibvirtVim, "_need_qemu", staticmethod(lambda host, capability: None))
    return asked


@pytest.fixture
def machines() -> Iterator[Callable[[int], list[ResourceRef]]]:
    """So many machines of ours, which all run."""
    import libvirt

    connection = libvirt.open("test:///default")
    made: list[Any] = []

    def make(number: int) -> list[ResourceRef]:
        keys = [f"s/vnf/web/vm-{index}" for index in range(number)]
        made.extend(
            connection.createXML(DOMAIN.format(f"metered-{index}", domain_uuid(OWNER, key)), 0)
            for index, key in enumerate(keys[len(made) :], len(made))
        )
        return [ResourceRef(kind=ResourceKind.NODE, key=key, host="host-1") for key in keys]

    yield make
    for domain in made:
        domain.destroy()
    connection.close()


def test_all_machines_of_a_host_are_measured_by_one_call(
    connect: Callable[..., LibvirtVim], asked: list[str], machines: Callable[[int], list[ResourceRef]]
) -> None:
    vim = connect(OWNER, uri="test:///default", name="host-1")
    for number in (2, 20):
        refs = machines(number)
        asked.clear()
        samples = list(vim.samples(refs, CallContext.within(60.0)))
        assert {one.key for one in samples} == {ref.key for ref in refs}
        assert asked == ["getAllDomainStats"]
