"""Chains are probed beside the loop, and what became of the probes are KPIs of the chain."""

from collections.abc import Callable

import pytest
from assured_site import PATIENCE_S, Site, unguarded

from manor.assure.confirming import confirm
from manor.assure.sight import Sight

Make = Callable[..., Site]


@pytest.mark.slow
def test_the_loss_along_a_chain_is_measured_by_probes(make_site: Make) -> None:
    site = make_site(probe_s=10)
    measuring = site.assurance._measuring
    (chain,) = [chain.key for service in site.assurance._services.read() for _, chain in service.chains()]

    def go() -> dict[str, float]:
        for _ in range(4):
            site.rounds(1, step_s=5, measure=True)
            measuring.probing.wait(PATIENCE_S)
        return dict(measuring.rows[chain].values)

    assert go()["probe_loss"] == 0.0
    unguarded(site.rt.sdn("net")).keepers.add("firewall")
    told = go()
    assert (told["probe_loss"], told["probe_loss:firewall"]) == (100.0, 100.0)
    (service,) = site.assurance._services.read()

    def signs(vnf: str) -> tuple[str, ...]:
        return confirm(service, site.node(vnf), (), sight=Sight(time_s=0.0), flows={}, rows=measuring.rows)

    assert [sign.partition(":")[0] for sign in signs("firewall")] == ["probes"], "somebody independent of any detector"
    assert signs("monitor") == ()
    unguarded(site.rt.sdn("net")).keepers.clear()
    assert go()["probe_loss"] == 0.0


@pytest.mark.slow
def test_probes_are_sent_only_where_they_are_wanted(make_site: Make) -> None:
    site = make_site(probe_s=0)
    site.rounds(4, step_s=20, measure=True)
    assert not any("probe_loss" in row.values for row in site.assurance._measuring.rows.values())
