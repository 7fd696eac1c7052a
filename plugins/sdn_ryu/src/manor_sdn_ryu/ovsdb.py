"""What the driver needs of a host's Open vSwitch besides OpenFlow: that the bridge is there, and its tracer.

By ``ovs-vsctl`` and ``ovs-appctl`` with argument lists; nothing here is a shell.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from manor.api import CallContext
from manor.errors import DeadlineExceeded, Indeterminate, NotFound, Permanent, Transient
from manor_sdn_ryu.config import SwitchConfig

__all__ = ["Ovsdb"]

_OWNER_ID = "manor-owner"
"""external_ids key on a bridge that Manor made."""
_QUIET = ("could not connect", "connection failed", "database connection", "Connection refused", "No such file")


class Ovsdb:
    """One host's switch database."""

    def __init__(self, switch: SwitchConfig) -> None:
        self._switch = switch

    def ensure_bridge(self, owner: str, ctx: CallContext) -> None:
        """The bridge is there, forwards nothing by itself and speaks OpenFlow 1.3.

        A bridge that is there is changed as little as that takes. The kernel's datapath is tried first.
        """
        name = self._switch.bridge
        row = self._bridge(ctx)
        if row is None:
            kernel = self._kernel_datapath(ctx)
            self._vsctl(
                ctx, "--may-exist", "add-br", name, "--", "set", "Bridge", name, "fail_mode=secure",
                f"datapath_type={'system' if kernel else 'netdev'}", f"external_ids:{_OWNER_ID}={owner}",
            )  # fmt: skip
            row = self._bridge(ctx) or {}
        if row.get("fail_mode") != "secure":
            self._vsctl(ctx, "set", "Bridge", name, "fail_mode=secure")
        protocols = _members(row.get("protocols"))
        if protocols and "OpenFlow13" not in protocols:
            self._vsctl(ctx, "add", "Bridge", name, "protocols", "OpenFlow13")

    def _bridge(self, ctx: CallContext) -> dict[str, Any] | None:
        columns = "--columns=name,fail_mode,protocols,datapath_id,datapath_type"
        text = self._vsctl(ctx, "--format=json", columns, "find", "Bridge", f"name={self._switch.bridge}")
        table = json.loads(text)
        return dict(zip(table["headings"], table["data"][0], strict=True)) if table["data"] else None

    def _kernel_datapath(self, ctx: CallContext) -> bool:
        types = self._vsctl(ctx, "get", "Open_vSwitch", ".", "datapath_types")
        return "system" in types and Path("/sys/module/openvswitch").exists()

    def _vsctl(self, ctx: CallContext, *argv: str) -> str:
        left = max(1, int(min(ctx.remaining_s(), 30.0)))
        return self._run(ctx, ["ovs-vsctl", f"--db={self._switch.ovsdb}", f"--timeout={left}", *argv])

    def trace(self, ctx: CallContext, flow: str) -> str:
        """``ofproto/trace`` of this switch, as it prints it. Raises NotFound where the switch is on another machine."""
        controls = sorted(Path(self._switch.run_directory or "/nonexistent").glob("ovs-vswitchd*.ctl"))
        if not controls:
            raise NotFound(
                f"host {self._switch.host}: no ovs-vswitchd control socket beside {self._switch.ovsdb}",
                hint="tracing needs the switch on this machine",
            )
        argv = ["ovs-appctl", "-t", str(controls[-1]), "ofproto/trace", "--names", self._switch.bridge, flow]
        return self._run(ctx, argv)

    def _run(self, ctx: CallContext, argv: Sequence[str]) -> str:
        ctx.check(argv[0])
        try:
            done = subprocess.run(  # noqa: S603
                argv, capture_output=True, text=True, timeout=min(ctx.remaining_s(), 30.0), stdin=subprocess.DEVNULL
            )
        except FileNotFoundError as error:
            raise Permanent(f"{argv[0]} is not installed", hint="apt install openvswitch-switch") from error
        except subprocess.TimeoutExpired as error:
            raise DeadlineExceeded(f"host {self._switch.host}: {argv[0]} did not answer in time") from error
        if done.returncode == 0:
            return done.stdout.strip()
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()
        why = f"host {self._switch.host}: {words[-1] if words else f'{argv[0]} failed'}"
        if done.returncode == -14:  # ovs-vsctl ends itself by SIGALRM when its --timeout is over
            raise Indeterminate(f"{why} (no answer from {self._switch.ovsdb})")
        if any(sign in done.stderr for sign in _QUIET):
            raise Transient(why, hint="is Open vSwitch running? manor doctor")
        raise Permanent(why)


def _members(column: Any) -> list[str]:
    """The members of an OVSDB column in JSON: a set, or one value."""
    if isinstance(column, list) and len(column) == 2 and column[0] == "set":
        return [str(value) for value in column[1]]
    return [str(column)] if column else []
