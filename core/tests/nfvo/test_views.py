"""Values that VNFs give each other: addresses in boot data, day-1 commands and parameters."""

import dataclasses
from typing import Any

import pytest
from secure_web import VNFDS, request

from manor.api import BootData, NodeSpec, Placement
from manor.errors import PlanRefused
from manor.model.desired import DesiredState
from manor.nfvo.desired import desired
from manor.nfvo.request import ServiceRequest, members
from manor.nfvo.views import vnf_view
from manor.vnfm.generic import GenericVnfm


def planned(wish: ServiceRequest) -> DesiredState:
    vnfs = members(wish)
    hosts = {vnfc.key: ("lab", "host-1") for vnf in vnfs for vnfc in vnf.vnfcs}

    def boot_data(_vnfm: str, view: Any, vnfc: Any) -> BootData:
        return GenericVnfm().boot_data(view, vnfc)

    return desired(wish, vnfs, Placement(hosts=hosts), boot_data)


def of_client(wish: ServiceRequest) -> tuple[NodeSpec, dict[str, Any]]:
    state = planned(wish)
    node = next(r.spec for r in state.resources if isinstance(r.spec, NodeSpec) and "/client/" in r.spec.key)
    (check, *_) = [c for c in state.checks if c.key.startswith("0a1b2c3d/vnf/client")]
    return node, dict(check.view)


def with_client(boot_data: str = "", day1: tuple[tuple[str, ...], ...] = (), **parameters: Any) -> ServiceRequest:
    client = VNFDS["client-vnfd"]
    (df,) = client.flavours
    df = dataclasses.replace(df, vdus=(dataclasses.replace(df.vdus[0], boot_data=boot_data, day1=day1),))
    wish = request(vnfds={**VNFDS, "client-vnfd": dataclasses.replace(client, flavours=(df,))})
    return dataclasses.replace(wish, ns=dataclasses.replace(wish.ns, parameters=parameters))


def address(wish: ServiceRequest, vnf: str) -> str:
    node = next(r.spec for r in planned(wish).resources if isinstance(r.spec, NodeSpec) and f"/{vnf}/" in r.spec.key)
    return node.ports[0].addresses[0].split("/")[0]


def test_an_address_reaches_boot_data_a_command_and_a_parameter() -> None:
    wish = with_client(
        boot_data="server={{ vnfs.web.addresses.eth[0] }} peer={{ peer }}\n",
        day1=(("connect", "--to", "{{ vnfs.web.addresses.eth | join(',') }}", "--as", "{{literally}}"),),
        peer="{{ vnfs['web'].addresses.eth[0] }}:80",
    )
    web = address(wish, "web")
    node, view = of_client(wish)
    assert node.user_data == f"server={web} peer={web}:80\n"
    assert view["day1"]["main"] == (("connect", "--to", web, "--as", "{{literally}}"),)
    assert view["parameters"]["peer"] == f"{web}:80"


def test_a_parameter_reaches_a_command_and_a_secret_does_not() -> None:
    command = ("app", "set", "{{ tone | upper }}", "{{.Names}}", "{{ greeting-card }}")
    _, view = of_client(with_client(day1=(command,), tone="calm", Names="x"))
    assert view["day1"]["main"] == (("app", "set", "CALM", "{{.Names}}", "{{ greeting-card }}"),)
    with pytest.raises(PlanRefused, match="day 1 of VDU main of client: a secret cannot stand in a command line"):
        planned(with_client(day1=(command,), tone="@secret:/etc/key@"))


def test_who_does_not_ask_is_not_told_and_so_not_touched_when_others_change() -> None:
    _, view = of_client(with_client(boot_data="echo {{ greeting }}\n", greeting="hello"))
    assert view["parameters"] == {"greeting": "hello"}


def test_what_is_nested_knows_its_own_by_the_names_of_its_descriptors() -> None:
    wish = with_client()
    (plain, *_) = members(wish)
    others = {name: {"addresses": {"eth": [name]}} for name in ("db", "east.db", "east.inner.db", "east.inner.web")}

    def told(name: str, text: str) -> Any:
        asking = dataclasses.replace(wish, ns=dataclasses.replace(wish.ns, parameters={"peer": text}))
        return vnf_view(asking, dataclasses.replace(plain, name=name), {}, others).parameters["peer"]

    db = "{{ vnfs.db.addresses.eth[0] }}"
    assert [told(f"{scope}client", db) for scope in ("", "east.", "east.inner.")] == ["db", "east.db", "east.inner.db"]
    assert told("east.inner.client", "{{ vnfs['east.db'].addresses.eth[0] }}") == "east.db"
    assert told("east.client", "{{ vnfs['inner.web'].addresses.eth[0] }}") == "east.inner.web"


@pytest.mark.parametrize("text", ["{{ vnfs.nobody.addresses.eth[0] }}", "{{ vnfs.web.addresses.eth[7] }}"])
def test_a_value_that_there_is_not_refuses_the_plan(text: str) -> None:
    with pytest.raises(PlanRefused, match=r"parameter peer of client: .*") as caught:
        planned(with_client(peer=text))
    assert "web" in caught.value.hint
    with pytest.raises(PlanRefused, match="boot data of client"):
        planned(with_client(boot_data=text))
