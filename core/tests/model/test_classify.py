"""What classifiers can match, without a switch."""

import pytest

from manor.api import Classifier, PortRange
from manor.model.classify import contradiction, described, meet, reversed_classifier

HTTP = PortRange(lower=80, upper=80)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (
            Classifier(source_ip_address_prefix="10.0.0.0/8", destination_ip_address_prefix="fd00::/8"),
            "two IP versions",
        ),
        (Classifier(ether_type="ipv6", source_ip_address_prefix="10.0.0.0/8"), "not ipv6"),
        (Classifier(protocol="icmp", destination_port_range=HTTP), "icmp has no ports"),
        (Classifier(protocol="tcp", destination_port_range=PortRange(lower=90, upper=80)), "no port from 90 to 80"),
        (Classifier(extended_criteria=((0, 16, "0800"), (8, 8, "01"))), "bit 15"),
    ],
)
def test_a_contradiction_is_named(rule: Classifier, words: str) -> None:
    assert words in contradiction(rule)
    assert not meet(rule, Classifier())


def test_a_rule_that_can_match_is_none() -> None:
    rule = Classifier(protocol="6", source_port_range=HTTP, extended_criteria=((0, 16, "0800"), (8, 8, "00")))
    assert contradiction(rule) == ""


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (Classifier(), Classifier(protocol="tcp"), True),
        (Classifier(protocol="tcp"), Classifier(protocol="6"), True),
        (Classifier(protocol="tcp"), Classifier(protocol="udp"), False),
        (Classifier(protocol="icmp"), Classifier(protocol="ipv6-icmp"), True),
        (Classifier(destination_port_range=HTTP), Classifier(protocol="icmp"), False),
        (Classifier(destination_port_range=HTTP), Classifier(protocol="udp"), True),
        (Classifier(ether_type="ipv4"), Classifier(ether_type="ipv6"), False),
        (Classifier(ether_type="ipv6"), Classifier(source_ip_address_prefix="10.0.0.0/8"), False),
        (
            Classifier(source_ip_address_prefix="10.0.0.0/8"),
            Classifier(source_ip_address_prefix="10.9.0.0/16", destination_ip_address_prefix="10.0.0.0/8"),
            True,
        ),
        (Classifier(source_ip_address_prefix="10.0.0.0/8"), Classifier(source_ip_address_prefix="11.0.0.0/8"), False),
        (
            Classifier(protocol="tcp", destination_port_range=PortRange(lower=1, upper=80)),
            Classifier(protocol="tcp", destination_port_range=PortRange(lower=80, upper=90)),
            True,
        ),
        (
            Classifier(protocol="tcp", destination_port_range=PortRange(lower=1, upper=79)),
            Classifier(protocol="tcp", destination_port_range=PortRange(lower=80, upper=90)),
            False,
        ),
        (Classifier(dscp=1), Classifier(dscp=2), False),
        (Classifier(dscp=0), Classifier(dscp=2), False),
        (Classifier(vlan_tag=(5,)), Classifier(vlan_tag=(6,)), False),
        (Classifier(extended_criteria=((0, 8, "8"),)), Classifier(extended_criteria=((4, 4, "0b1000"),)), True),
        (Classifier(extended_criteria=((0, 8, "8"),)), Classifier(extended_criteria=((4, 4, "0b1001"),)), False),
    ],
)
def test_two_rules_meet_where_one_packet_matches_both(one: Classifier, other: Classifier, both: bool) -> None:
    assert meet(one, other) is both
    assert meet(other, one) is both
    assert meet(reversed_classifier(one), reversed_classifier(other)) is (both or bool(one.extended_criteria))


def test_rules_are_told_in_words() -> None:
    rule = Classifier(
        protocol="tcp",
        source_ip_address_prefix="10.0.0.0/24",
        destination_port_range=PortRange(lower=80, upper=89),
        dscp=4,
    )
    assert described(rule) == "tcp from 10.0.0.0/24 to ports 80 to 89 DSCP 4"
    assert described(Classifier()) == "everything"
