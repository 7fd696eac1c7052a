"""VNFs that are to be apart or together: between VNFs, whatever the machines of one of them do among themselves."""

import dataclasses

import pytest
from secure_web import NSD, VNFDS, request

from manor.api.placement import AffinityScope, Candidate, Placement
from manor.api.vim import Host
from manor.model.vnfd import AffinityRule, VduProfile
from manor.nfvo.demand import demands, rules
from manor.nfvo.placement import Balanced
from manor.nfvo.request import ServiceRequest, members

WEB = VNFDS["web-vnfd"]


def host(name: str) -> Candidate:
    """One with room for all."""
    room = Host(name=name, vcpus=64, memory_bytes=64 << 30, memory_free_bytes=64 << 30, storage_free_bytes=64 << 30)
    return Candidate(
        vim="lab", host=room, support=dict.fromkeys(("node", "direct-boot", "guest-access", "volume"), "full")
    )


def wished(*, anti: bool, webs: int) -> ServiceRequest:
    """A service whose web has so many machines, and is to be apart from, or together with, the client."""
    (df,) = WEB.flavours
    profiles = (VduProfile(vdu_id="main", min_number_of_instances=webs, max_number_of_instances=webs),)
    web = dataclasses.replace(WEB, flavours=(dataclasses.replace(df, vdu_profiles=profiles),))
    (ns_df,) = NSD.flavours
    rule = AffinityRule(name="rule", anti=anti, scope=AffinityScope.NFVI_NODE, members=("client", "web"))
    nsd = dataclasses.replace(NSD, flavours=(dataclasses.replace(ns_df, affinity=(rule,)),))
    return dataclasses.replace(request(), nsd=nsd, vnfds={**VNFDS, "web-vnfd": web})


def placed(*hosts: str, anti: bool, webs: int, exact_up_to: int = 5000) -> Placement:
    wish = wished(anti=anti, webs=webs)
    vnfs = members(wish)
    return Balanced(exact_up_to=exact_up_to).place(demands(wish, vnfs), rules(wish, vnfs), list(map(host, hosts)), {})


def at(answer: Placement, vnf: str) -> set[str]:
    return {place[1] for key, place in answer.hosts.items() if f"/vnf/{vnf}/" in key}


@pytest.mark.parametrize("exact_up_to", [0, 5000])
def test_two_vnfs_apart_need_two_hosts_however_many_machines_one_has(exact_up_to: int) -> None:
    answer = placed("kvm1", "kvm2", anti=True, webs=3, exact_up_to=exact_up_to)
    assert not answer.refused
    assert at(answer, "client").isdisjoint(at(answer, "web"))
    refused = placed("kvm1", anti=True, webs=3, exact_up_to=exact_up_to).refused
    assert any("rule" in why for why in refused.values())


def test_vnfs_of_very_many_machines_are_all_apart_instead_of_being_weighed_pair_by_pair() -> None:
    wish = wished(anti=True, webs=2000)
    (rule,) = rules(wish, members(wish))
    assert len(rule.keys) == 2001


def test_two_vnfs_together_are_on_one_host() -> None:
    answer = placed("kvm1", "kvm2", anti=False, webs=3)
    assert at(answer, "client") == at(answer, "web")
    assert len(at(answer, "web")) == 1
