"""Two functions at one position of a chain, upgraded and healed in turn: a stream goes on, on real switches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .town import NEXT_FIREWALL, Stream, Town, onboarded, opened

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.long]


@pytest.fixture(scope="module")
def town(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with opened() as made:
        onboarded(made, packages, tmp_path_factory.mktemp("town"))
        yield made


def test_each_takes_over_while_the_other_is_made_anew(town: Town) -> None:
    town.manor("ns", "create", "town-1", "--name", "shop")
    town.manor(
        "ns", "instantiate", "shop", "--yes", *(w for v in ("client", "server") for w in ("--place", f"{v}=lab/kvm1"))
    )
    town.manor("ns", "scale", "shop", "--vnf", "firewall=2", "--yes")
    how = ("--strategy", "canary", "--fraction", "0.5", "--gate", "v_memory_size>1", "--soak", "1")
    with Stream(town, "shop/client", town.address("server")) as stream:
        town.manor("vnf", "upgrade", "shop/firewall", "shop/firewall-2", "--package", NEXT_FIREWALL, *how, "--yes")
    print("two of them, canary", stream.loss)
    for vnf in ("shop/firewall", "shop/firewall-2"):
        assert town.inside(vnf, "ls", "/run/version-2").returncode == 0
    assert stream.loss.longest_s < 1.0

    with Stream(town, "shop/client", town.address("server")) as stream:
        town.manor("ns", "heal", "shop", "--vnf", "firewall", "--vnf", "firewall-2", "--yes")
    print("both healed, alive", stream.loss)
    assert stream.loss.longest_s < 1.0
    for vnf in ("firewall", "firewall-2"):
        with Stream(town, "shop/client", town.address("server")) as stream:
            town.kill(vnf)
            town.manor("ns", "heal", "shop", "--yes")
        print("one healed, dead", stream.loss)
        assert stream.loss.longest_s < 5.0, "until its port is gone, and not until its guest has booted"
    assert town.ask("ns", "drift", "shop")["drift"] is False
    town.manor("ns", "delete", "shop", "--force", "--yes")
