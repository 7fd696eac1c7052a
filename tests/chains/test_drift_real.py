"""Rules deleted and altered by hand while ``manor serve`` runs: named, put right at once, a stranger's left alone."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.real
STRANGER = "table=30,priority=7,cookie=0x5,actions=drop"


def _lasting(stage: Any) -> list[str]:
    """What is in the switch, without what a probe leaves there for some seconds."""
    return [flow for flow in stage.ovs.flows(stage.bridge) if "hard_timeout=" not in flow]


def _alter(stage: Any) -> None:
    """Take one rule of the chain away, change another, add one under the link's cookie."""
    flows = _lasting(stage)
    chain = [flow for flow in flows if re.search(r"priority=3\d{4}\b", flow)]
    cookies = [re.search(r"cookie=(0x[0-9a-f]+)", flow) for flow in (chain[0], *(f for f in flows if "table=30" in f))]
    ours, link = (found[1] for found in cookies[:2] if found)
    gone, changed = (re.search(r"(table=\d+, )?(priority=.*) actions=", flow) for flow in chain[:2])
    assert gone
    assert changed
    for command, found, actions in (("del-flows", gone, ""), ("mod-flows", changed, ",actions=drop")):
        table = (found[1] or "table=0,").replace(" ", "")
        stage.ovs.ofctl("--strict", command, stage.bridge, f"{table}cookie={ours}/-1,{found[2]}{actions}")
    stage.ovs.ofctl("add-flow", stage.bridge, f"table=50,priority=9,cookie={link},actions=drop")


def _switch(stage: Any) -> Any:
    (switch,) = stage.manor.good("--json", "sdn", "switches", "net").json
    return switch


@pytest.fixture
def served(stage: Any) -> Iterator[Any]:
    """The stage with a ``manor serve`` of its own."""
    process = stage.manor.process("serve")
    try:
        yield stage
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=180)


def test_drift_is_named_rule_by_rule_and_repair_touches_only_the_difference(stage: Any) -> None:
    manor = stage.manor
    held = sorted(_lasting(stage))
    assert manor.good("ns", "drift", "web").out.startswith("web is as it should be")
    stage.ovs.ofctl("add-flow", stage.bridge, STRANGER)
    _alter(stage)
    seen = manor("ns", "drift", "web")
    assert seen.code == 1
    assert re.search(r"missing +chain path on host-1: path: ", seen.out), seen.out
    assert re.search(r"altered +chain path on host-1: path: ", seen.out)
    assert re.search(r"foreign +link lan on host-1: table 50, priority 9, any frame", seen.out)
    told = manor("--json", "ns", "drift", "web").json["flows"]["drift"]
    assert sorted((one["state"], one["of"]) for one in told) == [
        ("altered", "chain path"), ("foreign", "link lan"), ("missing", "chain path"),
    ]  # fmt: skip
    manor.good("ns", "drift", "web", "--repair", "--yes")
    now = sorted(_lasting(stage))
    assert [flow for flow in now if flow not in held] == [f for f in now if "cookie=0x5," in f]
    assert len(now) == len(held) + 1, "a stranger's rule stays"


def test_a_controller_without_its_memory_keeps_a_services_rules_until_it_is_told(stage: Any) -> None:
    manor, client, web = stage.manor, stage.machines["client"], stage.addresses["web"]
    held = sorted(_lasting(stage))
    (cookie,) = re.findall(r"cookie=0x([0-9a-f]+)", held[0])  # told without leading zeros
    nobodys = f"0x{int(cookie, 16) >> 40 << 40 | 5:016x}"
    stage.lose_agent()
    stage.ovs.ofctl("add-flow", stage.bridge, f"table=60,priority=9,cookie={nobodys},actions=drop")

    (orphan,) = manor("--json", "vim", "orphans").json["orphans"]
    assert orphan["observed"]["native_id"] == nobodys, "of what the service has nothing is an orphan"
    told = manor("ns", "drift", "web")
    assert told.code == 1
    assert re.search(r"~ segment +lan .*~ chain +path .*2 to change", told.out, re.DOTALL), told.out
    assert len(_lasting(stage)) == len(held) + 1
    stage.eventually(lambda: client.pings(web), "it carries")
    manor.good("vim", "orphans", "--remove", "--yes")
    manor.good("ns", "drift", "web", "--repair", "--yes")
    assert sorted(_lasting(stage)) == held
    assert manor.good("ns", "drift", "web").out.startswith("web is as it should be")


@pytest.mark.slow
@pytest.mark.parametrize("stage", [[]], indirect=True, ids=["as by default"])
def test_under_serve_it_is_put_right_by_itself(served: Any, capsys: pytest.CaptureFixture[str]) -> None:
    stage = served
    client, web = stage.machines["client"], stage.addresses["web"]
    stage.ovs.ofctl("add-flow", stage.bridge, STRANGER)
    held = sorted(_lasting(stage))
    took = []
    for _ in range(5):
        _alter(stage)
        began = time.monotonic()
        stage.eventually(lambda: sorted(_lasting(stage)) == held, "all is as it was")
        took.append(time.monotonic() - began)
        stage.eventually(lambda: client.pings(web), "and carries")
    # Told once it is done.
    stage.eventually(lambda: _switch(stage)["repaired"] >= 3 * len(took), "each is told")
    assert (_switch(stage)["wrong"], _switch(stage)["repaired"]) == (0, 3 * len(took))
    said = stage.manor.good("ns", "drift", "web").out
    assert "put right by the controller" in said
    assert "chain path on host-1" in said
    with capsys.disabled():
        print(f"\nrepair under serve: {', '.join(f'{s:.2f}' for s in sorted(took))} s")


@pytest.mark.slow
def test_a_link_whose_rules_are_gone_is_told_and_put_in_anew(served: Any) -> None:
    """By a controller that leaves alone what is altered by hand, so that it is the loop that has to."""
    manor, client, web = served.manor, served.machines["client"], served.addresses["web"]
    (manor.home / "assurance.yaml").write_text(
        "{collect_s: 0.5, degraded_s: 3, clear_s: 1, drift_s: 1, detector: '', probe_s: 0}"
    )
    held = sorted(_lasting(served))

    def alarms() -> list[Any]:
        return [one for one in manor.good("--json", "alarm", "list", "--all").json if one["ns_id"]]

    served.eventually(lambda: client.pings(web), "it carries")
    for cookie in {found for flow in held for found in re.findall(r"cookie=(0x[0-9a-f]+)", flow)}:
        served.ovs.ofctl("del-flows", served.bridge, f"cookie={cookie}/-1")
    served.eventually(lambda: not client.pings(web), "nothing carries any more")
    served.eventually(lambda: sorted(_lasting(served)) == held, "the rules are back")
    served.eventually(lambda: client.pings(web), "and carry")
    served.eventually(lambda: alarms() and all(one["alarm_cleared_time_s"] for one in alarms()), "the alarm clears")
    (alarm,) = alarms()
    assert (alarm["probable_cause"], alarm["is_root_cause"]) == ("link-degraded", True), "one fault is one alarm"
    assert any(line.startswith("also chain-degraded") for line in alarm["fault_details"])
    done = [one for one in manor.good("--json", "op", "list", "web").json if one["operation"] != "INSTANTIATE"]
    assert [(one["operation"], one["state"], one["is_automatic"]) for one in done] == [("REPAIR", "COMPLETED", True)]
