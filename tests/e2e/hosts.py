"""Several lab hosts on one network, as one VIM and one controller of an installation of their own."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from manor.testing.lab import LabHost, cable

from .conftest import Site

__all__ = ["opened", "plugged_in"]

_S = TypeVar("_S", bound=Site)


@contextlib.contextmanager
def opened(hosts: Sequence[str], made: Callable[[Path, Mapping[str, LabHost]], _S]) -> Iterator[_S]:
    """The hosts, registered as ``lab`` and ``net`` at the site that ``made`` makes of a folder and of them."""
    with contextlib.ExitStack() as stack:
        # Unix sockets allow few characters, so not pytest's long directory names.
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="manor-e2e-", dir="/tmp")))
        work.chmod(0o711)
        labs = {host: stack.enter_context(LabHost(host, work / host)) for host in hosts}
        addresses = _underlay(labs)
        site = made(work, labs)
        machines = [
            {"name": h, "uri": lab.uri, "ovsdb": lab.ovsdb, "pool_dir": str(lab.pool_dir)} for h, lab in labs.items()
        ]
        switches = [{"host": h, "ovsdb": lab.ovsdb, "underlay": addresses[h]} for h, lab in labs.items()]
        for name, settings in (("vim", {"hosts": machines, "accel": "tcg"}), ("sdn", {"switches": switches})):
            (work / f"{name}.json").write_text(json.dumps(settings))
        site.manor("vim", "add", "lab", "--driver", "libvirt", "--config", str(work / "vim.json"))
        site.manor("sdn", "add", "net", "--driver", "ryu", "--config", str(work / "sdn.json"))
        try:
            yield site
        finally:
            for service in site.ask("ns", "list"):
                site.manor("ns", "delete", service["name"], "--force", "--yes")
            site.manor("sdn", "remove", "net", "--force")


def _underlay(labs: Mapping[str, LabHost]) -> dict[str, str]:
    """One network over the hosts, as the userspace datapath wants it: the address is on a bridge of its own."""
    first, *others = labs.values()
    for lab in labs.values():
        lab.run("ovs-vsctl", "add-br", "br-phy", "--", "set", "Bridge", "br-phy", "datapath_type=netdev")
    for host in labs:
        plugged_in(labs, host)
    for number, lab in enumerate(others, start=2):
        first.run("ovs-vsctl", "add-port", "br-phy", f"to{number}")
        lab.run("ovs-vsctl", "add-port", "br-phy", "to1")
    return {host: f"192.0.2.{number}" for number, host in enumerate(labs, start=1)}


def plugged_in(labs: Mapping[str, LabHost], host: str) -> None:
    """Give a host what no power cut leaves: its address, and the cable to the first one."""
    number, lab = [*labs].index(host) + 1, labs[host]
    if number > 1:
        cable(next(iter(labs.values())), lab, f"to{number}", "to1")
    end_s = time.monotonic() + 60.0
    while " br-phy: " not in lab.run("ip", "-o", "link"):  # the switch makes it some time after it has started
        assert time.monotonic() < end_s
        time.sleep(0.1)
    lab.run("ip", "addr", "add", f"192.0.2.{number}/24", "dev", "br-phy")
    lab.run("ip", "link", "set", "br-phy", "up")
