"""A package that is disabled: nothing new is made of it, and what was made of it is operated on as always."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from service_world import VNFDS, Site, opened

from manor.api import OperationKind, PowerState
from manor.errors import DescriptorError
from manor.lcm import ns
from manor.lcm.operate import operate
from manor.lcm.scaling import scale_ns, scale_vnf
from manor.lcm.updating import change_package, update
from manor.model.instance import OperationalState, OperationState
from manor.store import packages


@pytest.fixture
def site(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with opened(fast_path, monkeypatch) as site:
        yield site


def disable(site: Site, name: str) -> None:
    with site.rt.store.begin() as tx:
        package = packages.get(tx, name)
        packages.save(tx, dataclasses.replace(package, operational_state=OperationalState.DISABLED))


@pytest.mark.slow
def test_what_runs_goes_on_and_nothing_new_is_made(site: Site) -> None:
    for name in ("web-vnfd", "firewall-vnfd", "secure-web"):
        disable(site, name)
    site.done(operate(site.rt, "demo", ["client"], PowerState.STOPPED))
    site.done(operate(site.rt, "demo", ["client"], PowerState.STARTED))
    site.done(scale_vnf(site.rt, "demo", "web", aspect="workers", steps=1))
    site.done(update(site.rt, "demo", chains_off=["to-web"]))
    with pytest.raises(DescriptorError, match="package firewall-vnfd is disabled"):
        scale_ns(site.rt, "demo", vnfs={"firewall": "+1"})
    assert site.run(ns.propose(site.rt, "demo", OperationKind.TERMINATE)).state is OperationState.COMPLETED
    with pytest.raises(DescriptorError, match="is disabled"):
        ns.propose(site.rt, "demo", OperationKind.INSTANTIATE)


def test_a_vnf_can_leave_a_disabled_package_and_not_come_to_it(site: Site) -> None:
    site.onboard(dataclasses.replace(VNFDS["web-vnfd"], id="web-vnfd-2", version="2"))
    disable(site, "web-vnfd")
    site.done(change_package(site.rt, "demo", "web", "web-vnfd-2"))
    with pytest.raises(DescriptorError, match="package web-vnfd is disabled"):
        change_package(site.rt, "demo", "web", "web-vnfd")
