"""A plan whose chain would not do what it says is refused before anything is done."""

from __future__ import annotations

import dataclasses

import pytest

from manor.api import ChainSpec, FlowProgram, SegmentSpec, Topology
from manor.errors import PlanRefused, Transient
from manor.fakes import FakeHost, FakeSdn, World
from manor.lcm.chainplan import refuse_astray
from manor.model.desired import DesiredResource, DesiredState
from manor.testing import SdnSpecs

SPECS = SdnSpecs(owner="manor/test", hosts=("host-1",))


def state() -> DesiredState:
    ends = SPECS.port("client"), SPECS.port("server")
    functions = [SPECS.element("firewall"), SPECS.element("monitor")]
    lan = SPECS.segment((*ends, *(port for f in functions for port in (f.ingress, f.egress))))
    chain = SPECS.chain(lan, ends, [[one] for one in functions])
    resources = tuple(DesiredResource(spec=spec, endpoint="sdn:net", why="w") for spec in (lan, chain))
    return DesiredState(service_id="s", service_name="shop", resources=resources)


class Careless(FakeSdn):
    """Compiles chains that pass their first function by."""

    def compile(self, spec: SegmentSpec | ChainSpec, topology: Topology) -> FlowProgram:
        if isinstance(spec, ChainSpec):
            spec = dataclasses.replace(spec, positions=spec.positions[1:])
        return super().compile(spec, topology)


def site() -> World:
    return World(hosts=[FakeHost(name="host-1")])


def test_a_chain_that_passes_its_functions_is_planned() -> None:
    refuse_astray(lambda _: FakeSdn(site()), None, state())


def test_one_that_leaves_a_function_out_is_refused_with_what_it_would_do() -> None:
    with pytest.raises(PlanRefused, match="would not do what it says") as refused:
        refuse_astray(lambda _: Careless(site()), None, state())
    assert "it passes monitor" in refused.value.message
    assert all(finding.code == "chain-astray" for finding in refused.value.findings)


def test_what_is_there_already_and_what_nobody_can_be_asked_about_are_left_alone() -> None:
    there = state()
    refuse_astray(lambda _: Careless(site()), there, there)

    def away(_endpoint: str) -> FakeSdn:
        raise Transient("nobody there")

    refuse_astray(away, None, state())
