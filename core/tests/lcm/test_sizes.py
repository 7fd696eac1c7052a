"""How many machines a VNF has under another descriptor: as many as were asked for, and never a dead end."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from service_world import NSD, VNFDS, Site, opened

from manor.api import OperationKind
from manor.errors import PlanRefused
from manor.lcm import ns
from manor.lcm.scaling import scale_ns, scale_vnf
from manor.lcm.updates import UpdateType, update_ns
from manor.lcm.updating import change_package
from manor.model.vnfd import VduProfile, Vnfd

WEBS = {"vnf/web/main-0", "vnf/web/main-1", "vnf/web/main-2"}


@pytest.fixture
def site(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with opened(fast_path, monkeypatch) as site:
        yield site


def plain(*, most: int = 3, at_first: int = 1) -> Vnfd:
    """A newer web server that knows no levels and no aspect."""
    old = VNFDS["web-vnfd"]
    (df,) = old.flavours
    df = dataclasses.replace(
        df,
        vdu_profiles=(VduProfile(vdu_id="main", min_number_of_instances=1, max_number_of_instances=most),),
        scaling_aspects=(),
        instantiation_levels=(),
        default_instantiation_level="",
        initial_deltas={"main": at_first},
    )
    return dataclasses.replace(old, id="web-vnfd-2", version="2", flavours=(df,))


def smaller() -> Vnfd:
    """A newer web server of one machine at most, with all levels and the aspect."""
    (df,) = plain(most=1).flavours
    (old,) = VNFDS["web-vnfd"].flavours
    df = dataclasses.replace(old, vdu_profiles=df.vdu_profiles)
    return dataclasses.replace(VNFDS["web-vnfd"], id="web-vnfd-2", version="2", flavours=(df,))


def webs(site: Site) -> set[str]:
    return {key for key in site.nodes() if key.startswith("vnf/web/")}


def test_an_upgrade_that_does_not_allow_as_many_is_refused(site: Site) -> None:
    site.onboard(smaller())
    site.done(scale_vnf(site.rt, "demo", "web", aspect="workers", steps=1))
    with pytest.raises(PlanRefused, match="web would have 2 of VDU main: its profile allows 1 to 1"):
        change_package(site.rt, "demo", "web", "web-vnfd-2")
    site.done(scale_vnf(site.rt, "demo", "web", aspect="workers", to_level=0))
    site.done(change_package(site.rt, "demo", "web", "web-vnfd-2"))


@pytest.mark.slow
@pytest.mark.parametrize("by", [{"aspect": "workers", "to_level": 1}, {"level": "large"}])
def test_who_was_scaled_by_what_the_new_one_lacks_is_refused_until_it_is_scaled_back(
    site: Site, by: dict[str, object]
) -> None:
    site.onboard(plain())
    site.done(scale_vnf(site.rt, "demo", "web", **by))  # type: ignore[arg-type]
    with pytest.raises(PlanRefused, match=r"of VDU main and would have 1: the new VNFD has no .*level") as refused:
        change_package(site.rt, "demo", "web", "web-vnfd-2")
    assert refused.value.hint.endswith("manor vnf scale NS/web")
    back = {**by, "to_level": 0} if "aspect" in by else {"level": "small"}
    site.done(scale_vnf(site.rt, "demo", "web", **back))  # type: ignore[arg-type]
    site.done(change_package(site.rt, "demo", "web", "web-vnfd-2"))
    assert webs(site) == {"vnf/web/main-0"}
    site.done(scale_ns(site.rt, "demo", level="large"))


def test_who_has_as_many_as_the_new_one_starts_with_keeps_them(site: Site) -> None:
    site.onboard(plain(at_first=3))
    site.done(scale_vnf(site.rt, "demo", "web", level="large"))
    site.done(change_package(site.rt, "demo", "web", "web-vnfd-2"))
    assert webs(site) == WEBS


@pytest.mark.slow
def test_a_new_version_of_the_nsd_is_no_dead_end_either(site: Site) -> None:
    site.onboard(plain())
    (df,) = NSD.flavours
    profiles = tuple(
        dataclasses.replace(
            profile,
            vnfd_id={"web": "web-vnfd-2"}.get(profile.id, profile.vnfd_id),
            max_number_of_instances={"firewall": 1}.get(profile.id, profile.max_number_of_instances),
        )
        for profile in df.vnf_profiles
    )
    df = dataclasses.replace(df, vnf_profiles=profiles, scaling_aspects=(), instantiation_levels=())
    df = dataclasses.replace(df, default_instantiation_level="")
    site.onboard(dataclasses.replace(NSD, id="secure-web-2", invariant_id=NSD.id, version="2", flavours=(df,)))
    wanted = {"newNsdId": "secure-web-2"}
    site.done(scale_ns(site.rt, "demo", vnfs={"firewall": "2", "monitor": "1"}))
    site.done(scale_vnf(site.rt, "demo", "web", aspect="workers", steps=1))
    with pytest.raises(PlanRefused, match="web has 2 of VDU main and would have 1"):
        update_ns(site.rt, "demo", UpdateType.ASSOC_NEW_NSD_VERSION, wanted)
    site.done(scale_vnf(site.rt, "demo", "web", aspect="workers", to_level=0))
    with pytest.raises(PlanRefused, match="there would be 2 of firewall: the NSD allows 1 to 1") as refused:
        update_ns(site.rt, "demo", UpdateType.ASSOC_NEW_NSD_VERSION, wanted)
    assert refused.value.hint == "manor ns scale demo --vnf firewall=1 first"
    site.done(scale_ns(site.rt, "demo", vnfs={"firewall": "1"}))
    site.done(update_ns(site.rt, "demo", UpdateType.ASSOC_NEW_NSD_VERSION, wanted))


def test_a_level_that_the_descriptor_itself_forbids_is_refused_at_the_start(
    fast_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (df,) = NSD.flavours
    profiles = tuple(
        dataclasses.replace(profile, instantiation_level={"web": "large"}.get(profile.id, ""))
        for profile in df.vnf_profiles
    )
    nsd = dataclasses.replace(NSD, flavours=(dataclasses.replace(df, vnf_profiles=profiles),))
    vnfds = {**VNFDS, "web-vnfd": dataclasses.replace(smaller(), id="web-vnfd", version="1")}
    refused = pytest.raises(PlanRefused, match="web would have 3 of VDU main: its profile allows 1 to 1")
    with opened(fast_path, monkeypatch, nsd=nsd, vnfds=vnfds, instantiate=False) as site, refused:
        ns.propose(site.rt, "demo", OperationKind.INSTANTIATE)
