"""Addresses are given once, in range, and kept."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manor.api.resources import Subnet
from manor.errors import PlanRefused
from manor.nfvo.addresses import allocate, device_name, mac_address


@given(st.lists(st.text(st.characters(codec="ascii"), min_size=1), unique=True, max_size=40), st.integers(20, 28))
def test_every_port_gets_its_own_address_inside_the_range_or_the_plan_is_refused(keys: list[str], bits: int) -> None:
    network = ipaddress.ip_network(f"10.1.0.0/{bits}")
    try:
        given_out = allocate("lan", [Subnet(cidr=str(network), gateway="10.1.0.1")], [(key, ()) for key in keys], {})
    except PlanRefused:
        assert len(keys) > network.num_addresses - 12
        return
    addresses = [ipaddress.ip_interface(text).ip for (text,) in given_out.values()]
    assert len(set(addresses)) == len(keys)
    assert all(address in network for address in addresses)
    assert ipaddress.ip_address("10.1.0.1") not in addresses


def test_a_held_address_is_never_given_to_another() -> None:
    subnets = [Subnet(cidr="10.1.0.0/24")]
    first = allocate("lan", subnets, [("b", ())], {})
    second = allocate("lan", subnets, [("a", ()), ("b", ())], first)
    assert second["b"] == first["b"]
    assert second["a"] != first["b"]


def test_both_families_are_served() -> None:
    (pair,) = allocate("lan", [Subnet(cidr="10.1.0.0/24"), Subnet(cidr="fd00::/64")], [("a", ())], {}).values()
    assert pair == ("10.1.0.10/24", "fd00::a/64")


@pytest.mark.parametrize("fixed", ["192.0.2.1", "10.1.0.1"])
def test_a_fixed_address_outside_the_range_or_taken_is_refused(fixed: str) -> None:
    with pytest.raises(PlanRefused, match=fixed):
        allocate("lan", [Subnet(cidr="10.1.0.0/24", gateway="10.1.0.1")], [("a", (fixed,))], {})


@given(st.text(), st.text())
def test_macs_are_local_unicast_and_device_names_fit_linux(owner: str, key: str) -> None:
    assert mac_address(owner, key).startswith("02:")
    assert len(device_name(owner, key)) <= 15
