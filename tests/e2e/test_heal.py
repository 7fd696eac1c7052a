"""Healing on real machines by a real ``manor serve``: secure-web under traffic, and what goes wrong.

One service for all of them, in the order of the file: each leaves it whole. What is judged is what passes the chain, as
the host's own interface counters have it, and what the alarms and operations say.
"""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .shop import MANOR, Shop

pytestmark = [pytest.mark.real, pytest.mark.slow]

SETTINGS: dict[str, Any] = {
    "collect_s": 0.5,
    "guest_s": 1.0,
    "probe_s": 0.0,
    "heartbeat_s": 1.0,
    "heartbeat_lost_s": 6.0,
    "degraded_s": 2.0,
    "cool_down_s": 1.0,
    "detector": "",
    "policy_settings": {"max_heals": 10, "settle_s": 20.0},
    "helped_within_s": 240.0,
    "heals_per_resource_hour": 10,
    "heals_per_vnf_hour": 20,
    "heals_per_service_hour": 20,
}
LEARNING: dict[str, Any] = {
    **SETTINGS,
    "learned_mode": "auto",
    "guest_s": 2.0,  # what a guest said is good for two periods, and one that is kept busy takes a while to answer
    "detector": "combined",
    # A detector that is minutes old can know of levels alone.
    "detector_settings": {
        "channels": ["median", "level"],
        "smooth": 4,
        "warmup_rows": 280,
        "warmup_s": 20.0,
        "budget_per_day": 4.0,
        "margin": 1.1,
        "floor": 6.0,
        "clear_s": 5.0,
        "relearn_s": 120.0,
    },
}
QUICK_S = 0.1
"""What has to be seen before a detector is any good is rows, not minutes."""
WARM_ROWS = 330
"""It fits anew at 256 rows, and knows its own scores by then."""
PACE_ROWS = 8
"""The first rows at another pace are gaps to it."""
MOST_CROWDS = 5
"""How often more visitors are let in for four times the usual traffic: a machine may be too slow for so many."""
JUDGED_ROWS = 12
"""More than a detector takes to suspect what is wrong."""


@pytest.fixture(scope="module")
def shop(site: Any, packages: Any) -> Iterator[Shop]:
    made = Shop(site)
    made.set(**SETTINGS)
    site.manor("package", "onboard", *map(str, sorted((packages / "secure-web").glob("*.csar"))))
    site.manor("ns", "create", "secure-web", "--name", "shop")
    site.manor("ns", "instantiate", "shop", "--yes")
    (web,) = (vnf for vnf in site.ask("ns", "topology", "shop")["vnfs"] if vnf["name"] == "web")
    (port,) = web["vnfcs"][0]["ports"]
    made.at, made.web_device = port["addresses"][0].split("/")[0], port["device"]
    made.visit(2)
    # What does not wait for an answer goes on at its pace when some is lost, so that the loss can be counted.
    made.inside("client", f"setsid ping -i 0.2 {made.at} >/dev/null 2>&1 </dev/null &")
    made.serve()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def learning(shop: Shop) -> int:
    """A detector learns what is usual, in quick succession; how often was measured before."""
    shop.calm()
    return shop.detect({**LEARNING, "collect_s": QUICK_S})


@pytest.fixture(scope="module")
def learned(shop: Shop, learning: int) -> None:
    """A detector has seen enough of what is usual, and goes on at an easier pace."""
    shop.until("the detector has seen enough", lambda: shop.measured() - learning >= WARM_ROWS, 1800)
    shop.set(**LEARNING)
    before = shop.measured()
    shop.until("it is used to the pace", lambda: shop.measured() - before >= PACE_ROWS, 240)


def test_a_killed_firewall_is_known_at_once_and_healed_by_itself(shop: Shop) -> None:
    shop.calm()
    before = shop.called("observe")
    shop.set(**SETTINGS | {"observe_s": 60.0})
    shop.until("it has looked", lambda: shop.called("observe") > before, 60)
    shop.until("it looks no more by itself", lambda: not shop.calls("observe", within_s=3.0), 60, 0.0)
    shop.set(**SETTINGS)  # which is read when it looks, and so when it hears of what happens now
    qemu, killed_s = shop.qemu("firewall"), time.time()
    os.kill(qemu, signal.SIGKILL)
    shop.until("traffic stops", lambda: not shop.flows(), 30, 0.0)
    shop.until("traffic is back", shop.flows, 240, 0.0)
    back_s = time.time()

    (operation,) = shop.until("it is healed", lambda: shop.healed(killed_s), 240)
    assert operation["is_automatic"]
    steps = shop.steps(operation["id"])
    assert any(re.fullmatch(r"verify chain \S+/chain/path", step) for step in steps), "the chain is proven again"
    (alarm,) = (alarm for alarm in shop.alarms(killed_s) if alarm["probable_cause"] != "agent-silent")  # of a busy one
    assert (alarm["probable_cause"], alarm["learned"]) == ("crashed", False), "one fault is one alarm"
    assert alarm["resource_key"].endswith("/vnf/firewall/firewall-0")
    # How fast on a machine that has time for it, and over the guest's own boot, is measured by benchmarks/mttr.py.
    assert alarm["alarm_raised_time_s"] - killed_s <= 10.0, "by event: it would have looked after a minute"
    booting_s = max(took for step, took in steps.items() if step.startswith("verify vnf"))
    assert back_s - killed_s < 2.0 * booting_s + 20.0, "little more than the time that the guest takes to boot"
    shop.calm()


def test_a_server_that_is_killed_in_the_middle_of_a_heal_finishes_it_once(shop: Shop) -> None:
    shop.calm()
    qemu, killed_s = shop.qemu("firewall"), time.time()
    os.kill(qemu, signal.SIGKILL)
    # It takes a busy kernel a while to bury the old one.
    shop.until("the machine is being started again", lambda: shop.qemu("firewall") not in (0, qemu), 60, 0.02)
    shop.stop(signal.SIGKILL)
    (operation,) = shop.heals(killed_s)
    assert operation["state"] == "PROCESSING", "it was killed in the middle"
    started = shop.qemu("firewall")
    shop.serve()
    (after,) = shop.until("it is healed", lambda: shop.healed(killed_s), 240)
    assert after["id"] == operation["id"], "the same operation"
    shop.calm()
    time.sleep(3.0)
    assert len(shop.heals(killed_s)) == 1
    assert shop.qemu("firewall") == started, "the machine was started once"


def test_a_port_taken_off_the_switch_is_told_and_put_back(shop: Shop) -> None:
    shop.calm()
    web, began_s = shop.qemu("web"), time.time()
    shop.site.lab.run("ovs-vsctl", "del-port", shop.web_device)
    shop.until("it is repaired", lambda: [op for op in shop.operations(began_s) if op["state"] == "COMPLETED"], 240)
    shop.until("traffic is back", shop.flows, 120, 0.0)
    (operation,) = shop.operations(began_s)
    assert (operation["operation"], operation["is_automatic"]) == ("REPAIR", True)
    assert shop.qemu("web") == web, "the machine ran on"
    # An agent may be too busy to answer.
    (alarm,) = (alarm for alarm in shop.alarms(began_s) if alarm["probable_cause"] != "agent-silent")
    assert (alarm["probable_cause"], alarm["is_root_cause"]) == ("node-degraded", True), "one fault is one alarm"
    assert alarm["fault_details"][0] == f"not plugged into the switch: {shop.web_device}"


def test_a_file_system_that_is_full_is_told_by_its_name_until_there_is_room(shop: Shop) -> None:
    began_s = time.time()

    def told(*, all: bool = True) -> list[dict[str, Any]]:
        return [alarm for alarm in shop.alarms(began_s, all=all) if alarm["probable_cause"] == "disk-full"]

    # The machines' image knows no file system of a disk that can be written. To df, and so to Manor, this is one.
    small = "mkdir /run/small && mount -t tmpfs -o size=1m /dev/small /run/small"
    shop.inside("web", f"{small} && ! dd if=/dev/zero of=/run/small/log bs=4k 2>/dev/null")
    (alarm,) = shop.until("it is told", told, 120)
    assert alarm["resource_key"].endswith("/vnf/web/web-0")
    assert alarm["fault_details"][0].startswith("/run/small in it is full")
    shop.until("a person is asked", lambda: "It was handed to a person" in shop.explained(alarm), 60)
    shop.inside("web", "rm /run/small/log")
    shop.until("it clears", lambda: not told(all=False), 120)
    shop.inside("web", "umount /run/small")
    assert shop.operations(began_s) == [], "a restart empties no disk"


def test_a_source_of_kpis_that_dies_is_told_and_nothing_is_healed(shop: Shop, learning: int) -> None:
    """The agent in a machine that works falls silent, while a detector learns: nobody can look inside, that is all."""
    began_s = time.time()
    # It is stopped once it has answered, and goes on at a sign that comes another way: an interrupt from outside.
    signs = "awk '/NMI/ {print $2}' /proc/interrupts"
    waits = f"sleep 1; kill -STOP $P; while [ $({signs}) = $S ]; do sleep 0.2; done; kill -CONT $P"
    shop.inside("monitor", f"P=$(pidof qemu-ga); S=$({signs}); ({waits}) >/dev/null 2>&1 </dev/null &")

    def told(*, all: bool = True) -> list[dict[str, Any]]:
        found = [alarm for alarm in shop.alarms(began_s, all=all) if not alarm["learned"]]
        return [alarm for alarm in found if alarm["resource_key"].endswith("/vnf/monitor/monitor-0")]

    try:
        *_, alarm = shop.until("the silence is told", told, 240)
    finally:
        (domain,) = (name for name in shop.site.domains() if "-monitor-monitor-0" in name)
        shop.site.lab.run("virsh", "inject-nmi", domain)
    assert alarm["probable_cause"] == "agent-silent"
    shop.until("it clears", lambda: not told(all=False), 240)
    assert shop.heals(began_s) == []
    shop.until("traffic passes", shop.flows, 120)


def test_a_sick_firewall_is_suspected_by_what_was_learned_confirmed_and_healed(shop: Shop, learned: None) -> None:
    """A gray failure inside: it burns CPU, leaks memory and drops three packets of ten, and is healed by itself."""
    shop.calm()
    shop.until("nothing is suspected", lambda: not shop.alarms(all=False), 240)
    well, asked_s = shop.qemu("firewall"), time.time()
    shop.inside(
        "firewall",
        "setsid sh -c 'while :; do :; done' >/dev/null 2>&1 </dev/null & "
        "setsid sh -c 'for i in $(seq 6); do dd if=/dev/zero of=/run/leak$i bs=1M count=4; sleep 1; done' "
        ">/dev/null 2>&1 </dev/null & "
        # Three packets of ten: the number is 0.3 times 2^32.
        "nft insert rule bridge filter forward meta random lt 1288490188 drop",
    )
    sick_s = time.time()

    def suspected() -> list[dict[str, Any]]:
        return [a for a in shop.alarms(asked_s) if a["learned"] and a["resource_key"].endswith("/firewall-0")]

    *_, alarm = shop.until("it is suspected", suspected, 120)
    taken = shop.samples("firewall", sick_s, alarm["alarm_raised_time_s"])
    print(f"\nsuspected after {taken} samples: {alarm['fault_details']}")
    print("\n".join(f"false: {a['fault_details']}" for a in shop.alarms() if a["learned"] and a["id"] != alarm["id"]))
    assert taken <= 10, shop.explained(alarm)
    most_blamed = next(line for line in alarm["fault_details"] if "% of it" in line)
    assert re.match(r"v_(cpu_usage_mean_vnf|memory_usage_mean_vnf|guest_load) of firewall-0 is ", most_blamed)
    (operation,) = shop.until("it is healed", lambda: shop.healed(asked_s), 240)
    assert operation["is_automatic"]
    assert shop.qemu("firewall") not in (0, well)
    story = shop.explained(alarm)
    assert "Confirmed by chain counters" in story, story
    shop.calm()
    (ruling,) = (r for r in shop.site.ask("alarm", "show", alarm["id"])["rulings"] if r["operation_id"])
    assert (ruling["action"] in ("restart", "recreate"), ruling["succeeded"]) == (True, True)
    shop.until("it helped, and is said to", lambda: "It helped." in shop.explained(alarm), 240, 1.0)
    assert len(shop.heals(asked_s)) == 1, "once"


def test_a_flash_crowd_scales_out_and_heals_nothing(shop: Shop, learned: None) -> None:
    shop.calm()
    usual, began_s = shop.rate(5.0), time.time()
    crowds: list[float] = []  # in times the usual traffic

    def scaled() -> list[dict[str, Any]]:
        shop.visit(2, pages=30, kept="/run/crowd")  # as many as it takes this machine to make a crowd
        return [op for op in shop.operations(began_s) if op["operation"] == "SCALE"]

    (operation,) = shop.until("there is a crowd, and it scales out", scaled, 300, 2.0)
    assert operation["is_automatic"]
    ended = shop.until("it has grown", lambda: shop.ended(operation["id"]), 240)
    assert ended["state"] == "COMPLETED"

    def four_times() -> bool:
        crowds.append(shop.rate(2.0) / usual)
        if crowds[-1] < 4.0:
            shop.visit(4, pages=30, kept="/run/crowd")
        return crowds[-1] >= 4.0 or len(crowds) >= MOST_CROWDS

    shop.until("four times the usual traffic passes, or what this machine can carry", four_times, 240, 0.0)
    print(f"\n{usual:.0f} packets/s as usual, in the crowd {', '.join(f'{one:.1f}' for one in crowds)} times as many")
    grown = shop.measured()
    shop.until("the crowd is judged since", lambda: shop.measured() - grown >= JUDGED_ROWS, 240)
    shop.leave("/run/crowd")
    assert [op["operation"] for op in shop.operations(began_s)] == ["SCALE"], "nothing is healed"
    for alarm in shop.alarms(began_s):
        # An agent may be too busy to answer; that is told and no more.
        assert alarm["learned"] or alarm["probable_cause"] in ("indicator crowd", "agent-silent"), shop.explained(alarm)
    plain = lambda: [alarm for alarm in shop.alarms(all=False) if not alarm["learned"]]  # noqa: E731
    shop.until("the crowd is gone", lambda: not plain(), 240)
    shop.site.manor("vnf", "scale", "shop/monitor", "--aspect", "capacity", "--in", "1", "--yes")


@pytest.mark.long
def test_a_machine_that_stands_still_is_restarted(shop: Shop) -> None:
    """It runs, as the hypervisor sees it; nobody in it answers, and it sends nothing."""
    shop.calm()
    qemu, began_s = shop.qemu("firewall"), time.time()
    os.kill(qemu, signal.SIGSTOP)
    try:
        (operation,) = shop.until("it is healed", lambda: shop.healed(began_s), 300)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(qemu, signal.SIGCONT)
    assert operation["is_automatic"]
    causes = {a["probable_cause"] for a in shop.alarms(began_s) if a["resource_key"].endswith("/firewall-0")}
    assert causes == {"heartbeat-lost"}
    assert shop.qemu("firewall") not in (0, qemu)
    shop.calm()


@pytest.fixture
def hang(shop: Shop) -> Iterator[Callable[[bool], None]]:
    """Stops libvirtd's process and lets it go on."""
    lab = shop.site.lab
    pid = (lab.workdir / "run/libvirtd.pid").read_text().strip()

    def say(stands_still: bool) -> None:
        lab.run("kill", f"-{(signal.SIGSTOP if stands_still else signal.SIGCONT).value}", pid)

    yield say
    say(False)


@pytest.mark.long
def test_a_hypervisor_that_hangs_is_told_refused_and_found_again(shop: Shop, hang: Callable[[bool], None]) -> None:
    shop.calm()
    began_s, process = time.time(), shop.served
    hang(True)
    shop.until("it is told", lambda: shop.alarms(began_s), 90)
    asked_s = time.monotonic()
    done = subprocess.run(
        [MANOR, "vnf", "heal", "shop/web", "--yes"], env=shop.site.env, capture_output=True, text=True, timeout=200
    )
    assert done.returncode != 0
    assert re.search(r"error: .*(kvm1|lab).*(answer|says nothing)", done.stderr), done.stderr
    assert time.monotonic() - asked_s < 120.0
    time.sleep(20.0)  # until keepalive has given up what was open
    hang(False)
    shop.until("it is found again", lambda: not shop.alarms(all=False), 90)
    assert {alarm["probable_cause"] for alarm in shop.alarms(began_s)} <= {"endpoint-silent", "host-lost"}
    assert shop.heals(began_s) == []
    assert process is shop.served is not None
    assert shop.served.poll() is None, "the same process, all the time"
    shop.calm()


def test_a_server_is_told_to_end_while_the_hypervisor_hangs(shop: Shop, hang: Callable[[bool], None]) -> None:
    assert shop.served is not None
    shop.until("it has measured", shop.measured, 60)
    hang(True)
    time.sleep(1.0)  # so that it has begun to wait for an answer
    began_s = time.monotonic()
    shop.served.send_signal(signal.SIGTERM)
    shop.served.wait(180)
    # Half a minute, on a machine that has time for it.
    assert time.monotonic() - began_s < 120.0, (shop.site.home / "serve.log").read_text()[-3000:]
    shop.served = None
