"""A package that asks for a VNF manager which is not here is run by the generic one, and that is said."""

import dataclasses
from pathlib import Path

import pytest
from service_world import VNFDS, opened

from manor.api import OperationKind, PowerState
from manor.lcm import ns
from manor.lcm.operate import operate
from manor.lcm.wishes import Wishes


def test_a_manager_that_is_not_here_is_named_once_with_who_stands_in(
    fast_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = dataclasses.replace(VNFDS["web-vnfd"], vnfm_info=("Tacker",))
    with opened(fast_path, monkeypatch, vnfds={**VNFDS, "web-vnfd": web}, instantiate=False) as site:
        proposal = ns.propose(site.rt, "demo", OperationKind.INSTANTIATE, Wishes())
        said = [note for note in proposal.plan.notes if "VNF manager" in note]
        assert said == ["web: no VNF manager Tacker is here, generic stands in"]
        site.done(proposal)
        stop = operate(site.rt, "demo", ["web"], PowerState.STOPPED)
        assert not any("VNF manager" in note for note in stop.plan.notes)
