"""Day-1 commands: run in what is made, started or told otherwise, and not because a neighbour comes or goes."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from service_world import VNFDS, Site, opened

from manor.api import PowerState
from manor.lcm.healing import heal
from manor.lcm.operate import operate


@pytest.fixture
def site(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    web = VNFDS["web-vnfd"]
    (df,) = web.flavours
    df = dataclasses.replace(df, vdus=(dataclasses.replace(df.vdus[0], day1=(("mkfs", "/dev/vdb"),)),))
    with opened(fast_path, monkeypatch, vnfds={**VNFDS, "web-vnfd": dataclasses.replace(web, flavours=(df,))}) as site:
        yield site


def times(site: Site) -> int:
    with site.world.look() as state:
        web = next(native for native in state.natives.values() if native.spec.key.endswith("/web/main-0"))
        return web.ran.count(["mkfs", "/dev/vdb"])


def test_a_neighbour_that_stops_and_starts_runs_no_other_vnfs_day_1(site: Site) -> None:
    for power in (PowerState.STOPPED, PowerState.STARTED):
        proposal = operate(site.rt, "demo", ["client"], power)
        assert any(step.id.startswith("verify node") and "/web/" in step.id for step in proposal.plan.steps)
        site.done(proposal)
        assert times(site) == 1


def test_a_machine_that_starts_again_or_is_made_anew_is_set_up_again(site: Site) -> None:
    site.done(operate(site.rt, "demo", ["web"], PowerState.STOPPED))
    site.done(operate(site.rt, "demo", ["web"], PowerState.STARTED))
    assert times(site) == 2
    site.done(heal(site.rt, "demo", vnfs=["web"]))
    assert times(site) == 1  # of the new machine
