"""Probes on the fake controller."""

from manor.api import CallContext, Classifier, ProbeVerdict
from manor.fakes import FakeSdn
from manor.testing.sdn_specs import SdnSpecs


def test_a_probe_that_another_chain_takes_is_lost_to_this_one() -> None:
    sdn, specs, ctx = FakeSdn(), SdnSpecs(owner="manor/test"), CallContext.within(10)
    client, server = specs.port("client"), specs.port("server")
    mine, theirs = specs.element("mine"), specs.element("theirs")
    segment = specs.segment((client, server))
    chains = [
        specs.chain(segment, (client, server), [[mine]], name="mine"),
        specs.chain(
            segment, (client, server), [[theirs]], name="other", classifiers=(Classifier(protocol="tcp"),), precedence=1
        ),
    ]
    for spec in (segment, *chains):
        sdn.apply(sdn.compile(spec, sdn.topology(ctx)), ctx)
    packet = {
        "eth_src": client.mac, "eth_dst": server.mac, "eth_type": 0x0800, "ipv4_src": client.addresses[0],
        "ipv4_dst": server.addresses[0], "ip_proto": 6, "tcp_src": 40000, "tcp_dst": 80,
    }  # fmt: skip
    (lost,) = sdn.probe(chains[0].key, [packet], ctx)
    assert not lost.arrived
    assert lost.hops[-1].verdict is ProbeVerdict.LOST
    assert "another chain" in lost.hops[-1].note
    (fine,) = sdn.probe(chains[1].key, [packet], ctx)
    assert fine.arrived
