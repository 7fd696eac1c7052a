"""A VNF belongs to one manager: the one that its package asks for, or the generic one where that is not here."""

import dataclasses
from pathlib import Path

import pytest
from service_world import VNFDS, Site, opened

from manor.api import OperationKind, PowerState
from manor.lcm import ns
from manor.lcm.operate import operate
from manor.lcm.wishes import Wishes
from manor.model.instance import Endpoint, EndpointKind
from manor.store import endpoints

ASKS = {**VNFDS, "web-vnfd": dataclasses.replace(VNFDS["web-vnfd"], vnfm_info=("Tacker",))}


def come(site: Site) -> None:
    """A VNF manager named Tacker."""
    tacker = Endpoint(kind=EndpointKind.VNFM, name="Tacker", driver="generic", config={}, created_s=1.0)
    with site.rt.store.begin() as tx:
        endpoints.add(tx, tacker)


def web(site: Site) -> tuple[str, set[str]]:
    """To whom the VNF belongs by the book, and whose checks are wanted of it."""
    vnf = site.vnf("web")
    return vnf.vnfm, {check.endpoint for check in site.state().checks if check.key == vnf.id}


@pytest.mark.slow
def test_a_manager_that_comes_later_takes_no_vnf_over(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(fast_path, monkeypatch, vnfds=ASKS) as site:
        come(site)
        site.done(operate(site.rt, "demo", ["firewall"], PowerState.STOPPED))
        assert web(site) == ("generic", {"vnfm:generic"})


def test_a_vnf_stays_with_its_manager_also_while_that_is_not_here(
    fast_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(fast_path, monkeypatch, vnfds=ASKS, instantiate=False) as site:
        come(site)
        site.done(ns.propose(site.rt, "demo", OperationKind.INSTANTIATE, Wishes()))
        assert web(site) == ("Tacker", {"vnfm:Tacker"})
        with site.rt.store.begin() as tx:
            endpoints.remove(tx, EndpointKind.VNFM, "Tacker")
        stop = operate(site.rt, "demo", ["firewall"], PowerState.STOPPED)
        assert "web: its VNF manager Tacker is not here, generic stands in" in stop.plan.notes
        site.done(stop)
        assert web(site) == ("Tacker", {"vnfm:generic"})
        come(site)
        site.done(operate(site.rt, "demo", ["firewall"], PowerState.STARTED))
        assert web(site) == ("Tacker", {"vnfm:Tacker"})


def test_a_manager_that_is_not_here_is_named_once_with_who_stands_in(
    fast_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(fast_path, monkeypatch, vnfds=ASKS, instantiate=False) as site:
        proposal = ns.propose(site.rt, "demo", OperationKind.INSTANTIATE, Wishes())
        said = [note for note in proposal.plan.notes if "VNF manager" in note]
        assert said == ["web: no VNF manager Tacker is here, generic stands in"]
        site.done(proposal)
        stop = operate(site.rt, "demo", ["web"], PowerState.STOPPED)
        assert not any("VNF manager" in note for note in stop.plan.notes)
