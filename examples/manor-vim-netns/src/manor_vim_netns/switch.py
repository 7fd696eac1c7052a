"""The integration bridge: made when first needed, marked as ours, removed with the last network if it is free."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from manor.api import CallContext
from manor.errors import Transient

from manor_vim_netns.programs import run, tried

__all__ = ["Bridge"]


class Bridge:
    """One bridge of the host's Open vSwitch."""

    def __init__(self, database: str, name: str) -> None:
        self._database = database
        self.name = name

    def _vsctl(self, *argv: str) -> list[str]:
        return ["ovs-vsctl", f"--db={self._database}", "--timeout=10", *argv]

    def exists(self, ctx: CallContext) -> bool:
        """Whether it is there. Raises Transient where the switch does not answer."""
        done = tried(self._vsctl("br-exists", self.name), ctx)
        if done.returncode in (0, 2):
            return done.returncode == 0
        raise Transient("Open vSwitch does not answer", retry_after_s=2.0, hint="manor doctor --fix")

    def ensure(self, owner: str, ctx: CallContext) -> None:
        """There, and forwarding nothing that no controller asked for."""
        if self.exists(ctx):
            return
        datapath = "system" if Path("/sys/module/openvswitch").exists() else "netdev"
        fresh = ["--may-exist", "add-br", self.name, "--", "set", "Bridge", self.name, "fail_mode=secure"]
        mark = [f"datapath_type={datapath}", f"external_ids:manor-owner={json.dumps(owner)}"]
        run(self._vsctl(*fresh, *mark), f"bridge {self.name}", ctx)

    def remove(self, owner: str, ctx: CallContext) -> None:
        """Gone, if this owner made it and nothing is plugged in."""
        if not self.exists(ctx):
            return
        mark = tried(self._vsctl("get", "Bridge", self.name, "external_ids:manor-owner"), ctx)
        ports = run(self._vsctl("list-ports", self.name), f"bridge {self.name}", ctx).split()
        if mark.stdout.decode().strip().strip('"') == owner and not ports:
            run(self._vsctl("--if-exists", "del-br", self.name), f"bridge {self.name}", ctx)

    def plug(self, devices: Iterable[str], what: str, ctx: CallContext) -> None:
        """These interfaces are ports, in one transaction."""
        argv = [part for d in devices for part in ("--", "--may-exist", "add-port", self.name, d)]
        if argv:
            run(self._vsctl(*argv), what, ctx)

    def unplug(self, devices: Iterable[str], what: str, ctx: CallContext) -> None:
        """They are not."""
        argv = [part for device in devices for part in ("--", "--if-exists", "del-port", device)]
        if argv:
            run(self._vsctl(*argv), what, ctx)
