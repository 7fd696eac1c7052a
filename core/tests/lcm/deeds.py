"""Every operation type as one row: what an operator asks, what was done before, and what was broken before.

The crash matrix and the simulation are written over this table. A new operation type joins both by a row here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from service_world import NSD as WHOLE_NSD
from service_world import VNFDS as WHOLE_VNFDS
from sim_site import SimSite

from manor.api import NodeSpec, OperationKind, PowerState
from manor.fakes import FakeHost
from manor.lcm import ns, snapshots
from manor.lcm.changing import act, change_ext_conn, change_flavour, modify_information
from manor.lcm.healing import heal
from manor.lcm.moving import move
from manor.lcm.ns import Proposal
from manor.lcm.operate import operate
from manor.lcm.scaling import scale_ns, scale_vnf
from manor.lcm.updates import update_ns
from manor.lcm.updating import change_package, update
from manor.lcm.wishes import Wishes
from manor.model.nsd import Dependency, Nsd
from manor.model.vnfd import LcmScript, VnfAction, Vnfd

__all__ = ["DEEDS", "NSD", "NSDS", "VNFDS", "Deed"]


def _nsd() -> Nsd:
    """Client → firewall → web: the smallest that has a chain, a scaling VNF, disks, and an order to start in."""
    (df,) = WHOLE_NSD.flavours
    (graph,) = WHOLE_NSD.vnffgds
    (path,) = graph.nfpds
    df = dataclasses.replace(
        df,
        vnf_profiles=tuple(p for p in df.vnf_profiles if p.id != "monitor"),
        dependencies=(Dependency(primary="web", secondary="firewall"),),
        instantiation_levels=tuple(
            dataclasses.replace(level, vnf_levels={n: c for n, c in level.vnf_levels.items() if n != "monitor"})
            for level in df.instantiation_levels
        ),
    )
    path = dataclasses.replace(path, positions=tuple(p for p in path.positions if p.id != "monitor"))
    return dataclasses.replace(WHOLE_NSD, flavours=(df,), vnffgds=(dataclasses.replace(graph, nfpds=(path,)),))


def _next() -> Nsd:
    """The NSD's next version: a path more, and more firewalls where nobody said how many."""
    (df,) = NSD.flavours
    (graph,) = NSD.vnffgds
    (path,) = graph.nfpds
    small, large = df.instantiation_levels
    small = dataclasses.replace(small, vnf_levels={**small.vnf_levels, "firewall": 2})
    rule = dataclasses.replace(path.rules[0], protocol="udp")
    more = dataclasses.replace(path, id="also-to-web", rules=(rule,))
    return dataclasses.replace(
        NSD,
        id=f"{NSD.id}-2",
        invariant_id=NSD.id,
        version="2",
        flavours=(dataclasses.replace(df, instantiation_levels=(small, large)),),
        vnffgds=(dataclasses.replace(graph, nfpds=(path, more)),),
    )


def _inner() -> Nsd:
    """A web server behind a link of its own, to be nested."""
    (df,) = WHOLE_NSD.flavours
    profiles = tuple(p for p in df.vnf_profiles if p.id == "web")
    df = dataclasses.replace(
        df, vnf_profiles=profiles, instantiation_levels=(), default_instantiation_level="", scaling_aspects=()
    )
    return dataclasses.replace(WHOLE_NSD, id="inner", name="inner", flavours=(df,), vnffgds=())


def _web(version: str) -> Vnfd:
    """A version of the web, which says at boot what it is and what its parameters ask."""
    plain = WHOLE_VNFDS["web-vnfd"]
    (df,) = plain.flavours
    greeting = "{{ greeting | default('hello') }}"
    vdu = dataclasses.replace(df.vdus[0], boot_data=f"#!/bin/sh\necho {greeting} from version {version}\n")
    backup = VnfAction(name="backup", script=_FILE, dsl=_BASH, inputs={"target": None})
    around = tuple(LcmScript(event=event, script=_FILE, dsl=_BASH) for event in ("scale_start", "scale_end"))
    return dataclasses.replace(
        plain,
        id="web-vnfd" if version == "1" else f"web-vnfd-{version}",
        version=version,
        actions=(backup,),
        scripts=() if version == "1" else around,
        flavours=(
            dataclasses.replace(df, vdus=(vdu,)),
            dataclasses.replace(
                df,
                id="plus",
                vdus=(vdu, dataclasses.replace(vdu, id="cache", int_cpds=())),
                initial_deltas={"main": 2, "cache": 1},
            ),
        ),
    )


_OUTSIDE = {"host": "host-1", "device": "eth7"}
_FILE, _BASH = "vmlinuz", "tosca.artifacts.Implementation.Bash"
NSD = _nsd()
NSDS = (NSD, _next(), _inner())
VNFDS = {name: WHOLE_VNFDS[name] for name in ("client-vnfd", "firewall-vnfd")}
VNFDS |= {web.id: web for web in (_web("1"), _web("2"))}
VNFDS["firewall-vnfd-2"] = dataclasses.replace(VNFDS["firewall-vnfd"], id="firewall-vnfd-2", version="2")


def _untouched(_site: SimSite, _name: str) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Deed:
    """One operation on the service ``name`` of a site."""

    ask: Callable[[SimSite, str], Proposal]
    """Raises UsageError or PlanRefused where the service as it stands does not allow it."""
    before: tuple[str, ...] = ("instantiate",)
    """Deeds done before, with no misfortune."""
    damage: Callable[[SimSite, str], None] = _untouched
    """What somebody broke just before, behind our back."""

    is_idle: bool = False
    """It changes what may be asked for next and nothing that is there: no step to die at, and no call to fail."""

    is_long: bool = False
    """Its like is in the matrix already: lived through in the long runs only."""

    @property
    def is_damaged(self) -> bool:
        """Whether something is broken before it begins."""
        return self.damage is not _untouched


def _key(site: SimSite, name: str, end: str) -> str:
    """The key of what is there of a service and ends so."""
    return next(key for key in site.there(name) if key.endswith(end))


def _damage(*ends: str) -> Callable[[SimSite, str], None]:
    def destroy(site: SimSite, name: str) -> None:
        for end in ends:
            site.world.destroy(_key(site, name, end))

    return destroy


def _crashed(end: str) -> Callable[[SimSite, str], None]:
    return lambda site, name: site.world.stop(_key(site, name, end))


def _plain(operation: OperationKind) -> Callable[[SimSite, str], Proposal]:
    return lambda site, name: ns.propose(site.rt, name, operation)


def _greeted(site: SimSite, name: str) -> Proposal:
    """Other parameters than the service has."""
    was = site.ns(name).parameters.get("greeting", 0)
    return update(site.rt, name, parameters={"greeting": int(was) + 1})


def _updated(update_type: str, **data: object) -> Callable[[SimSite, str], Proposal]:
    return lambda site, name: update_ns(site.rt, name, update_type, data)


def _graph(port: int) -> dict[str, object]:
    """A path of name queries through the firewall."""
    hops = {"client": ["eth"], "firewall": ["in", "out"], "web": ["eth"]}
    positions = [
        {"id": name, "elements": [{"id": name, "cps": [{"constituent": name, "cpd": cp} for cp in cps]}]}
        for name, cps in hops.items()
    ]
    rule = {"protocol": "udp", "destination_port_range": {"lower": port, "upper": port}}
    return {"id": "dns", "nfpds": [{"id": "names", "positions": positions, "rules": [rule]}]}


def _moved(site: SimSite, name: str) -> Proposal:
    """To the other one of two hosts."""
    state = site.desired(name)
    here = {place for key, place in (state.placement if state else {}).items() if "/vnf/web/" in key}
    return move(site.rt, name, "web", "lab/host-1" if here == {"lab/host-2"} else "lab/host-2", discard_data=True)


def _second_host(site: SimSite, _name: str) -> None:
    site.world.set_hosts(*site.hosts()[:1], FakeHost(name="host-2"))


def _measured(site: SimSite, name: str) -> None:
    site.world.metrics.update({key: {"v_cpu_usage_mean": 1.0} for key in site.there(name)})


def _associated(site: SimSite, name: str) -> Proposal:
    """The other one of two versions of the NSD."""
    first, second, _ = (nsd.id for nsd in NSDS)
    return update_ns(
        site.rt, name, "ASSOC_NEW_NSD_VERSION", {"newNsdId": second if site.ns(name).nsd_id == first else first}
    )


def _upgraded(site: SimSite, name: str) -> Proposal:
    """The other one of two packages."""
    state = site.desired(name)
    nodes = [r.spec for r in state.resources if isinstance(r.spec, NodeSpec)] if state else []
    is_new = any("version 2" in node.user_data for node in nodes)
    return change_package(site.rt, name, "web", "web-vnfd" if is_new else "web-vnfd-2")


DEEDS: Mapping[str, Deed] = {
    "instantiate": Deed(ask=_plain(OperationKind.INSTANTIATE), before=()),
    "terminate": Deed(ask=_plain(OperationKind.TERMINATE)),
    "terminate-large": Deed(ask=_plain(OperationKind.TERMINATE), before=("instantiate", "scale-out", "stop")),
    "terminate-forceful": Deed(
        ask=lambda s, n: ns.propose(s.rt, n, OperationKind.TERMINATE, Wishes(patience_s=0.0)), is_long=True
    ),
    "heal": Deed(ask=lambda s, n: heal(s.rt, n), damage=_crashed("web/main-0")),
    "heal-vnf": Deed(ask=lambda s, n: heal(s.rt, n, vnfs=["web"])),
    "heal-all": Deed(
        ask=lambda s, n: heal(s.rt, n, vnfs=["firewall-2", "firewall", "web"]),
        before=("instantiate", "scale-out"),
        is_long=True,
    ),
    "heal-vnfc": Deed(ask=lambda s, n: heal(s.rt, n, vnfcs=["firewall/main-0"])),
    "stop": Deed(ask=lambda s, n: operate(s.rt, n, ["web"], PowerState.STOPPED)),
    "stop-forceful": Deed(ask=lambda s, n: operate(s.rt, n, ["firewall"], PowerState.STOPPED, patience_s=0.0)),
    "stop-graceful": Deed(
        ask=lambda s, n: operate(s.rt, n, ["web"], PowerState.STOPPED, patience_s=30.0), is_long=True
    ),
    "start": Deed(
        ask=lambda s, n: operate(s.rt, n, ["web", "firewall"], PowerState.STARTED), before=("instantiate", "stop")
    ),
    "scale-out": Deed(ask=lambda s, n: scale_ns(s.rt, n, vnfs={"firewall": "+1"})),
    "scale-in": Deed(ask=lambda s, n: scale_ns(s.rt, n, vnfs={"firewall": "-1"}), before=("instantiate", "scale-out")),
    "scale-to-level": Deed(ask=lambda s, n: scale_ns(s.rt, n, level="large")),
    "scale-by-aspect": Deed(
        ask=lambda s, n: scale_ns(s.rt, n, aspect="security", to_level=0), before=("instantiate", "scale-out")
    ),
    "scale-vnf-out": Deed(ask=lambda s, n: scale_vnf(s.rt, n, "web", aspect="workers", steps=1)),
    "scale-vnf-in": Deed(
        ask=lambda s, n: scale_vnf(s.rt, n, "web", aspect="workers", steps=-1), before=("instantiate", "scale-vnf-out")
    ),
    "scale-vnf-to-level": Deed(ask=lambda s, n: scale_vnf(s.rt, n, "web", level="large")),
    "parameters": Deed(ask=_greeted),
    "chain-off": Deed(ask=lambda s, n: update(s.rt, n, chains_off=["to-web"])),
    "chain-on": Deed(ask=lambda s, n: update(s.rt, n, chains_on=["to-web"]), before=("instantiate", "chain-off")),
    "upgrade": Deed(ask=_upgraded),
    "upgrade-several": Deed(ask=_upgraded, before=("instantiate", "scale-vnf-out")),
    "upgrade-shared": Deed(
        ask=lambda s, n: change_package(s.rt, n, ["firewall", "firewall-2"], "firewall-vnfd-2"),
        before=("instantiate", "scale-out"),
    ),
    "blue-green": Deed(
        ask=lambda s, n: change_package(s.rt, n, "web", "web-vnfd-2", strategy="blue-green", discard_data=True),
        before=("instantiate", "scale-vnf-out"),
    ),
    "canary": Deed(
        ask=lambda s, n: change_package(s.rt, n, "web", "web-vnfd-2", strategy="canary", fraction=0.5),
        before=("instantiate", "scale-vnf-out"),
        is_long=True,
    ),
    "canary-behind-a-gate": Deed(
        ask=lambda s, n: change_package(
            s.rt, n, "web", "web-vnfd-2", strategy="canary", gate=["v_cpu_usage_mean<80"], soak_s=3.0
        ),
        before=("instantiate", "scale-vnf-out"),
        damage=_measured,
        is_long=True,
    ),
    "move": Deed(ask=_moved, damage=_second_host),
    "action": Deed(ask=lambda s, n: act(s.rt, n, "web", "backup", {"target": "here"})),
    "change-flavour": Deed(ask=lambda s, n: change_flavour(s.rt, n, "web", "plus"), is_long=True),
    "modify-information": Deed(
        ask=lambda s, n: modify_information(s.rt, n, "web", name="front", properties={"greeting": "good day"}),
        is_long=True,
    ),
    "add-vnf": Deed(ask=_updated("INSTANTIATE_VNF", vnfProfileId="firewall"), is_long=True),
    "add-vnf-of-a-new-profile": Deed(
        ask=_updated("INSTANTIATE_VNF", vnfProfileId="second", vnfdId="client-vnfd", extVirtualLinks={"eth": "lan"}),
        is_long=True,
    ),
    "remove-vnf": Deed(ask=_updated("REMOVE_VNF", removeVnfInstanceId="firewall"), before=("instantiate", "add-vnf")),
    "create-link": Deed(ask=_updated("CREATE_NS_VIRTUAL_LINK", virtualLinkId="dmz", cidr="10.99.0.0/24"), is_idle=True),
    "change-ext-conn": Deed(
        ask=lambda s, n: change_ext_conn(s.rt, n, "firewall", {"in": "dmz"}), before=("instantiate", "create-link")
    ),
    "delete-link": Deed(
        ask=_updated("DELETE_NS_VIRTUAL_LINK", virtualLinkId="dmz"), before=("instantiate", "create-link"), is_idle=True
    ),
    "add-sap": Deed(ask=_updated("ADD_SAP", sapdId="wan", virtualLinkId="lan", port=_OUTSIDE), is_long=True),
    "remove-sap": Deed(ask=_updated("REMOVE_SAP", removeSapId="wan"), before=("instantiate", "add-sap"), is_long=True),
    "add-nested": Deed(ask=_updated("ADD_NESTED_NS", nsProfileId="north", nsdId="inner"), is_long=True),
    "remove-nested": Deed(
        ask=_updated("REMOVE_NESTED_NS", removeNestedNsId="north"), before=("instantiate", "add-nested"), is_long=True
    ),
    "add-vnffg": Deed(ask=_updated("ADD_VNFFG", vnffgd=_graph(53)), is_long=True),
    "update-vnffg": Deed(ask=_updated("UPDATE_VNFFG", vnffgd=_graph(5353)), before=("instantiate", "add-vnffg")),
    "new-nsd-version": Deed(ask=_associated, is_long=True),
    "remove-vnffg": Deed(ask=_updated("REMOVE_VNFFG", removeVnffgId="graph"), is_long=True),
    "snapshot": Deed(
        ask=lambda s, n: snapshots.create(s.rt, n, "web", "one"), before=("instantiate", "scale-vnf-out"), is_long=True
    ),
    "revert": Deed(
        ask=lambda s, n: snapshots.revert(s.rt, n, "web", "one"), before=("instantiate", "scale-vnf-out", "snapshot")
    ),
    "delete-snapshot": Deed(
        ask=lambda s, n: snapshots.delete(s.rt, n, "one"),
        before=("instantiate", "scale-vnf-out", "snapshot"),
        is_long=True,
    ),
    "terminate-with-snapshot": Deed(
        ask=_plain(OperationKind.TERMINATE), before=("instantiate", "scale-vnf-out", "snapshot"), is_long=True
    ),
    "repair-node": Deed(ask=_plain(OperationKind.REPAIR), damage=_damage("web/main-0")),
    "repair-crashed": Deed(ask=_plain(OperationKind.REPAIR), damage=_crashed("firewall/main-0")),
    "repair-disk": Deed(ask=_plain(OperationKind.REPAIR), damage=_damage("web/main-0/disk/data", "web/main-0")),
    "repair-disk-under-a-machine": Deed(ask=_plain(OperationKind.REPAIR), damage=_damage("web/main-0/disk/data")),
    "repair-link": Deed(ask=_plain(OperationKind.REPAIR), damage=_damage("vl/lan", "chain/to-web")),
    "repair-all": Deed(ask=_plain(OperationKind.REPAIR), damage=lambda s, n: _damage(*s.there(n))(s, n)),
}
