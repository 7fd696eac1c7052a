"""How much a machine passes on is told where both sides of it were counted: half of it missing is no loss."""

import pytest

from manor.api import ChainElement, ChainPosition, ChainSpec, NodeSpec, Port, SdnPort
from manor.assure.sight import Service
from manor.assure.subjects import passed_on, sent
from manor.model.desired import DesiredResource, DesiredState
from manor.telemetry.kpis import KpiRow, Subject

FIREWALL, CHAIN = "1a2b3c4d/vnf/fw/main-0", "1a2b3c4d/chain/in"
SIDES = ("left", "right")


def ports(key: str) -> tuple[SdnPort, SdnPort]:
    left, right = (SdnPort(key=f"{key}/{side}", host="h1", device=side, mac="") for side in SIDES)
    return left, right


def service() -> Service:
    left, right = ports(FIREWALL)
    node = NodeSpec(
        key=FIREWALL,
        owner="manor/t",
        host="h1",
        name="fw",
        vcpus=1,
        memory_bytes=1,
        labels=(("vnfc", "main-0"),),
        ports=tuple(
            Port(key=port.key, name=side, network="n", device=port.device, mac="52:54:00:00:00:01")
            for side, port in zip(SIDES, (left, right), strict=True)
        ),
    )
    element = ChainElement(ingress=left, egress=right)
    chain = ChainSpec(
        key=CHAIN,
        owner="manor/t",
        name="in",
        segment="s",
        classifiers=(),
        sources=(),
        destinations=(),
        positions=(ChainPosition(name="one", elements=(element,)),),
    )
    resources = (DesiredResource(endpoint="vim:lab", spec=node), DesiredResource(endpoint="sdn:net", spec=chain))
    return Service(
        id="1a2b3c4d",
        name="shop",
        nsd_id="n",
        desired=DesiredState(service_id="1a2b3c4d", service_name="shop", resources=resources),
    )


THERE = {"packet_incoming:main-0:left": 20.0, "packet_outgoing:main-0:right": 19.0}
BACK = {"packet_incoming:main-0:right": 10.0, "packet_outgoing:main-0:left": 10.0}


@pytest.mark.parametrize(
    ("values", "counts"),
    [
        ({**THERE, **BACK}, {FIREWALL: (30.0, 29.0)}),
        (THERE, {FIREWALL: (20.0, 19.0)}),  # a chain of one way, or one whose way back is counted from the next row on
        ({**THERE, "packet_incoming:main-0:right": 10.0}, {}),
        ({"packet_incoming:main-0:left": 20.0}, {}),
        ({}, {}),
    ],
)
def test_what_goes_in_is_not_lost_where_what_comes_out_was_not_counted(
    values: dict[str, float], counts: dict[str, tuple[float, float]]
) -> None:
    row = KpiRow(subject=Subject(key=CHAIN, kind="chain"), time_s=1.0, values=values)
    assert passed_on([service()], {CHAIN: row}) == counts
    assert passed_on([service()], {}) == {}, "the switches gave no answer"


@pytest.mark.parametrize(
    ("missing", "counts"),
    [
        ((), {FIREWALL: (30.0, 12.0)}),
        (("packet_outgoing_vnf_ext_cp:left",), {}),
        (("packet_incoming_vnf_int_cp:right", "packet_outgoing_vnf_int_cp:right"), {}),
    ],
)
def test_a_machine_of_which_a_port_was_not_counted_is_not_said_to_send_less(
    missing: tuple[str, ...], counts: dict[str, tuple[float, float]]
) -> None:
    values = {
        "packet_incoming_vnf_ext_cp:left": 20.0,
        "packet_incoming_vnf_int_cp:right": 10.0,
        "packet_outgoing_vnf_ext_cp:left": 5.0,
        "packet_outgoing_vnf_int_cp:right": 7.0,
        "packet_incoming_dropped_vnf_ext_cp:left": 99.0,
        "v_cpu_usage_mean_vnf": 1.0,
    }
    subject = Subject(key=FIREWALL, kind="vnfc", parts={"a": "left", "b": "right"})
    row = KpiRow(subject=subject, time_s=1.0, values={k: v for k, v in values.items() if k not in missing})
    assert sent([row]) == counts
    whole = KpiRow(
        subject=subject, time_s=1.0, values={"packet_incoming_vnf_ext_cp": 3.0, "packet_outgoing_vnf_ext_cp": 2.0}
    )
    assert sent([whole]) == {FIREWALL: (3.0, 2.0)}, "a VIM that does not tell ports apart"
