"""What an operator does to a running service, by the command line alone."""

import pytest
from shell import Cli


@pytest.fixture
def web(site: Cli) -> Cli:
    site.good("ns", "create", "secure-web", "--name", "web")
    site.good("ns", "instantiate", "web", "--yes")
    return site


def test_heal(web: Cli) -> None:
    assert "nothing to do" in web.good("ns", "heal", "web").out
    done = web.good("vnf", "heal", "web/web", "--cause", "slow", "--yes")
    assert "± node" in done.out
    assert "HEAL web COMPLETED" in done.out
    web.good("ns", "heal", "web", "--vnfc", "firewall/firewall-0", "--yes")
    shown = web.good("--json", "op", "show", "web").json
    assert shown["operation"]["operation"] == "HEAL"
    assert web("ns", "heal", "web", "--vnf", "nobody", "--yes").code == 2
    assert web.good("--json", "ns", "drift", "web").json["drift"] is False
