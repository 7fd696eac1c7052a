"""The private switch is real, forwards, and leaves nothing behind."""

import os
import subprocess

import pytest

from manor.testing.ovs import PrivateOvs, missing_for_ovs

pytestmark = [pytest.mark.real, pytest.mark.skipif(bool(missing_for_ovs()), reason=missing_for_ovs())]


def namespaces() -> str:
    return subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout


def test_hosts_reach_each_other_through_it_and_nothing_is_left() -> None:
    with PrivateOvs() as ovs:
        ovs.add_bridge("br-t")
        one = ovs.add_host("br-t", "a", mac="02:00:00:00:00:01", cidrs=["10.9.0.1/24"])
        ovs.add_host("br-t", "b", mac="02:00:00:00:00:02", cidrs=["10.9.0.2/24"])
        assert not one.netns.pings("10.9.0.2", within_s=0.3), "fail_mode=secure forwards nothing by itself"
        ovs.ofctl("add-flow", "br-t", "actions=NORMAL")
        assert one.netns.pings("10.9.0.2", count=3)
        assert len(ovs.flows("br-t")) == 1
        tag = ovs.netns.name
        pid = ovs.pid("ovs-vswitchd")
    assert tag not in namespaces()
    assert not ovs.directory.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_bump_passes_frames_between_its_ports() -> None:
    with PrivateOvs() as ovs:
        ovs.add_bridge("br-t")
        one = ovs.add_host("br-t", "a", mac="02:00:00:00:00:01", cidrs=["10.9.0.1/24"])
        two = ovs.add_host("br-t", "b", mac="02:00:00:00:00:02", cidrs=["10.9.0.2/24"])
        bump = ovs.add_bump("br-t", "w")
        ports = {
            name: ovs.vsctl("get", "interface", name, "ofport") for name in (*one.devices, *two.devices, *bump.devices)
        }
        for source, target in (
            (one.devices[0], bump.devices[0]),
            (bump.devices[0], one.devices[0]),
            (bump.devices[1], two.devices[0]),
            (two.devices[0], bump.devices[1]),
        ):
            ovs.ofctl("add-flow", "br-t", f"in_port={ports[source]},actions=output:{ports[target]}")
        assert one.netns.pings("10.9.0.2", count=3)
