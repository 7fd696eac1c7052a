"""The host's Open vSwitch as far as a VIM needs it: a bridge to plug into, and no dead plugs left in it.

libvirt plugs and unplugs ports itself; flows and controllers are the SDN plugin's. Talks by ``ovs-vsctl``, which works
on a database of this or another host.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from manor.api import CallContext
from manor.errors import DeadlineExceeded, Indeterminate, NotFound, Permanent, Transient

__all__ = ["Bridge", "OWNER_ID", "Switch"]

OWNER_ID = "manor-owner"
"""external_ids key on a bridge that Manor made."""

_USERSPACE = "netdev"
_NO_PORT = frozenset({"[]", "-1"})
"""Of a bridge's own interface, before the switch has looked, and where it cannot run it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bridge:
    """A bridge as it is."""

    name: str
    datapath: str
    """``netdev`` is the userspace datapath; empty and ``system`` the kernel's."""
    owner: str
    """Owner tag of the installation that made it; empty for a foreign one."""

    @property
    def is_userspace(self) -> bool:
        return self.datapath == _USERSPACE


class Switch:
    """One host's Open vSwitch database."""

    def __init__(self, host: str, database: str) -> None:
        self._host = host
        self._database = database

    def bridge(self, name: str, ctx: CallContext) -> Bridge | None:
        """The bridge of that name, None where there is none."""
        rows = self._table(ctx, "--columns=name,datapath_type,external_ids", "find", "Bridge", f"name={name}")
        if not rows:
            return None
        row = rows[0]
        owner = dict(row["external_ids"][1]).get(OWNER_ID, "")
        return Bridge(name=name, datapath=row["datapath_type"], owner=owner)

    def ensure_bridge(self, name: str, owner: str, ctx: CallContext) -> Bridge:
        """The bridge, made if absent: fail-secure, so that nothing is forwarded that no controller asked for.

        The kernel's datapath is tried first; where the kernel has none, the userspace one is taken.
        """
        while True:
            found = self.bridge(name, ctx)
            if found is not None and (found.datapath or not found.owner):
                return found
            if found is None:
                ctx.check(f"making bridge {name}")
                make = ["--may-exist", "add-br", name, "--", "set", "Bridge", name, "fail_mode=secure"]
                # --may-exist and set run in one transaction: whoever comes second finds a whole bridge.
                self._run(ctx, *make, f"external_ids:{OWNER_ID}={json.dumps(owner)}")
            failed = self._failed_on(name, ctx)
            if failed is not None and failed != _USERSPACE:
                self._run(ctx, "--if-exists", "set", "Bridge", name, f"datapath_type={_USERSPACE}")
                failed = self._failed_on(name, ctx)
            if failed == _USERSPACE:
                raise Permanent(
                    f"Open vSwitch on host {self._host} cannot run bridge {name} on either datapath",
                    hint="read /var/log/openvswitch/ovs-vswitchd.log on that host",
                )
            made = self.bridge(name, ctx)
            if made is not None and failed is None:
                return made
            # Another process took it for empty before this one's network was there: it is made again.

    def _failed_on(self, name: str, ctx: CallContext) -> str | None:
        """The datapath on which the switch cannot run the bridge; None where it runs it, or there is none any more.

        Waits for a switch that is at work on somebody else's change. Raises Transient where it does not come to it.
        """
        look = ("get", "Open_vSwitch", ".", "next_cfg", "cur_cfg", "--", "--if-exists", "get", "Bridge", name)
        look += ("datapath_type", "--", "--if-exists", "get", "Interface", name, "ofport")
        while True:
            wanted, taken_up, *found = self._run(ctx, *look).split()  # all of it at one moment
            if len(found) < 2 or found[1] not in _NO_PORT:
                return None
            if int(taken_up) >= int(wanted):
                return found[0].strip('"')
            try:
                self._run(ctx, "wait-until", "Open_vSwitch", ".", f"cur_cfg>={wanted}")
            except DeadlineExceeded:
                raise
            except Indeterminate:
                message = f"the switch of host {self._host} has not taken up bridge {name} yet"
                raise Transient(message, retry_after_s=1.0, hint="does ovs-vswitchd run there? manor doctor") from None

    def ports(self, bridge: str, ctx: CallContext) -> set[str]:
        """Names of the ports on a bridge, its own left out; empty where there is no bridge."""
        try:
            return set(self._run(ctx, "list-ports", bridge).split())
        except Indeterminate:
            if self.bridge(bridge, ctx) is not None:  # looked at last: another process may remove it meanwhile
                raise
            return set()

    def plugged(self, ctx: CallContext) -> set[str]:
        """Names of all interfaces that the switch has and that work."""
        rows = self._table(ctx, "--columns=name,ofport", "list", "Interface")
        return {row["name"] for row in rows if isinstance(row["ofport"], int) and row["ofport"] > 0}

    def plug(self, bridge: str, device: str, ids: Mapping[str, str], ctx: CallContext) -> None:
        """Plug a device in as libvirt does, with these ``external_ids``."""
        values = [f"external_ids:{name}={json.dumps(value)}" for name, value in ids.items()]
        add = ["--if-exists", "del-port", bridge, device, "--", "add-port", bridge, device]
        self._run(ctx, *add, "--", "set", "Interface", device, *values)

    def unplug(self, vm_id: str, ctx: CallContext) -> None:
        """Take out the ports that a machine left behind; libvirt marks each with the domain's UUID."""
        rows = self._table(ctx, "--columns=name", "find", "Interface", f"external_ids:vm-id={json.dumps(vm_id)}")
        for row in rows:
            self._run(ctx, "--if-exists", "del-port", row["name"])

    def remove_bridge(self, name: str, owner: str, ctx: CallContext) -> bool:
        """Remove the bridge if this owner made it and nothing is plugged in; says whether it is gone."""
        found = self.bridge(name, ctx)
        if found is None:
            return True
        if found.owner != owner or self.ports(name, ctx):
            return False
        self._run(ctx, "--if-exists", "del-br", name)
        return True

    def _table(self, ctx: CallContext, *argv: str) -> list[dict[str, Any]]:
        answer = json.loads(self._run(ctx, "--format=json", *argv))
        return [dict(zip(answer["headings"], row, strict=True)) for row in answer["data"]]

    def _run(self, ctx: CallContext, *argv: str) -> str:
        ctx.check(f"talking to Open vSwitch on host {self._host}")
        wait_s = max(1, min(10, round(ctx.remaining_s())))
        command = ["ovs-vsctl", f"--db={self._database}", f"--timeout={wait_s}", *argv]
        try:
            done = subprocess.run(  # noqa: S603 - an argument list, names checked by the config model
                command, capture_output=True, text=True, timeout=wait_s + 2, check=False
            )
        except FileNotFoundError:
            raise NotFound("ovs-vsctl is not installed", hint="apt-get install openvswitch-switch") from None
        except subprocess.TimeoutExpired:
            raise DeadlineExceeded(f"Open vSwitch on host {self._host} did not answer in {wait_s} s") from None
        if done.returncode == 0:
            return done.stdout
        if done.returncode == -signal.SIGALRM:  # by its own --timeout
            verb = next(word for word in argv if not word.startswith("-"))
            message = f"the switch of host {self._host} did not take {verb} in {wait_s} s"
            raise Indeterminate(message, hint="does ovs-vswitchd run there? manor doctor")
        words = " ".join(done.stderr.split())[:300]
        if "database connection failed" in words:
            raise Transient(
                f"Open vSwitch on host {self._host} is not reachable: {words}",
                retry_after_s=2.0,
                hint="manor doctor --fix",
            )
        raise Indeterminate(f"Open vSwitch on host {self._host}: {words}", hint="manor doctor")
