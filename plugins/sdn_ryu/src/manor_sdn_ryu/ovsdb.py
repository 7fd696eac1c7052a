"""What the driver needs of a host's Open vSwitch besides OpenFlow: that the bridge and tunnels are there, its tracer.

By ``ovs-vsctl`` and ``ovs-appctl`` with argument lists; nothing here is a shell.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from manor.api import CallContext
from manor.errors import DeadlineExceeded, Indeterminate, NotFound, Permanent, Transient
from manor_sdn_ryu.config import SwitchConfig
from manor_sdn_ryu.tls import Credentials
from manor_sdn_ryu.tunnels import Tunnel

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

    def claim(self, owner: str, controller: str, ctx: CallContext) -> None:
        """The bridge, where it is there, is this controller's. Raises Permanent where another of ours has it.

        Two controllers of one installation on one bridge would each take the other's rules for its own leftovers.
        """
        held = self._claimed_by(owner, ctx)
        if held is None or held == controller:
            return
        if held:
            raise Permanent(
                f"bridge {self._switch.bridge} of host {self._switch.host} is the controller {held}'s",
                hint=f"a bridge has one controller: use {held}, or manor sdn remove {held}",
            )
        self._vsctl(ctx, "set", "Bridge", self._switch.bridge, f"external_ids:{_claim_id(owner)}={controller}")

    def release(self, owner: str, controller: str, ctx: CallContext) -> None:
        """Give up the claim; none is no error."""
        if self._claimed_by(owner, ctx) == controller:
            self._vsctl(ctx, "remove", "Bridge", self._switch.bridge, "external_ids", _claim_id(owner))

    def _claimed_by(self, owner: str, ctx: CallContext) -> str | None:
        """The controller's name; empty where nobody has the bridge, None where there is no bridge."""
        if self._bridge(ctx) is None:
            return None
        name = self._switch.bridge
        return self._vsctl(ctx, "--if-exists", "get", "Bridge", name, f"external_ids:{_claim_id(owner)}").strip('"')

    def ensure_tunnel(self, tunnel: Tunnel, owner: str, ctx: CallContext) -> None:
        """This end of a tunnel exists and its way is known to the switch.

        Raises Permanent when the switch refuses it, or when its userspace datapath could not send through it.
        """
        self._vsctl(
            ctx, "--may-exist", "add-port", self._switch.bridge, tunnel.device,
            "--", "set", "Port", tunnel.device, f"external_ids:{_OWNER_ID}={owner}",
            "--", "set", "Interface", tunnel.device, "type=vxlan", "options:key=flow",
            f'options:remote_ip="{tunnel.remote}"', f'options:local_ip="{tunnel.local}"',
        )  # fmt: skip
        rows = self._rows(ctx, "name,ofport,error,status,mtu", "list", "Interface")
        made = rows.get(tunnel.device, {})
        if not isinstance(made.get("ofport"), int) or made["ofport"] <= 0:
            why = "".join(_members(made.get("error"))) or "no reason given"
            raise Permanent(f"host {tunnel.host}: tunnel to {tunnel.peer} ({tunnel.remote}) is refused: {why}")
        self._check_way(tunnel, rows, ctx)

    def _check_way(self, tunnel: Tunnel, rows: Mapping[str, Mapping[str, Any]], ctx: CallContext) -> None:
        status = dict(rows[tunnel.device]["status"][1])
        egress = str(status.get("tunnel_egress_iface", ""))
        if (self._bridge(ctx) or {}).get("datapath_type") == "netdev" and egress and egress not in rows:
            raise Permanent(
                f"host {tunnel.host}: {tunnel.local} is on {egress}, which is no Open vSwitch bridge: the userspace"
                " datapath cannot send tunnels through it",
                hint=f"ovs-vsctl add-br br-phy -- set Bridge br-phy datapath_type=netdev -- add-port br-phy {egress},"
                " and move the address to br-phy",
            )
        mtu, promised = rows.get(egress, {}).get("mtu"), self._switch.underlay_mtu
        if isinstance(mtu, int) and mtu < promised:
            raise Permanent(
                f"host {tunnel.host}: {egress} has an MTU of {mtu}, not the {promised} of underlay_mtu",
                hint=f"ip link set {egress} mtu {promised}, or correct the setting",
            )

    def remove_tunnels(self, devices: Iterable[str], owner: str, ctx: CallContext) -> None:
        """Take away these ends of tunnels where they carry our tag."""
        ours = self._rows(ctx, "name", "find", "Port", f'external_ids:{_OWNER_ID}="{owner}"')
        argv = [word for device in devices if device in ours for word in ("--", "--if-exists", "del-port", device)]
        if argv:
            self._vsctl(ctx, *argv[1:])

    def _rows(self, ctx: CallContext, columns: str, *query: str) -> dict[str, dict[str, Any]]:
        table = json.loads(self._vsctl(ctx, "--format=json", f"--columns={columns}", *query))
        return {row[0]: dict(zip(table["headings"], row, strict=True)) for row in table["data"]}

    def has_bridge(self, ctx: CallContext) -> bool:
        """Whether there is such a bridge."""
        return self._bridge(ctx) is not None

    def is_userspace(self, ctx: CallContext) -> bool:
        """Whether the bridge is there and its datapath is Open vSwitch's own, not the kernel's."""
        return (self._bridge(ctx) or {}).get("datapath_type") == "netdev"

    def _bridge(self, ctx: CallContext) -> dict[str, Any] | None:
        columns = "name,fail_mode,protocols,datapath_id,datapath_type"
        return self._rows(ctx, columns, "find", "Bridge", f"name={self._switch.bridge}").get(self._switch.bridge)

    def _kernel_datapath(self, ctx: CallContext) -> bool:
        types = self._vsctl(ctx, "get", "Open_vSwitch", ".", "datapath_types")
        return "system" in types and Path("/sys/module/openvswitch").exists()

    def _vsctl(self, ctx: CallContext, *argv: str) -> str:
        left = max(1, int(min(ctx.remaining_s(), 30.0)))
        tls: list[str] = []
        if self._switch.ovsdb.startswith("ssl:") and self._switch.pki_dir is not None:
            credentials = Credentials(directory=self._switch.pki_dir)
            credentials.check()
            tls = credentials.options()
        return self._run(ctx, ["ovs-vsctl", f"--db={self._switch.ovsdb}", *tls, f"--timeout={left}", *argv])

    def trace(self, ctx: CallContext, flow: str, table: int = 0) -> str:
        """``ofproto/trace`` of this switch, as it prints it, from a table on. Raises NotFound where the switch is on
        another machine."""
        controls = sorted(Path(self._switch.run_directory or "/nonexistent").glob("ovs-vswitchd*.ctl"))
        if not controls:
            raise NotFound(
                f"host {self._switch.host}: no ovs-vswitchd control socket beside {self._switch.ovsdb}",
                hint="tracing needs the switch on this machine",
            )
        verb, *start = ["ofproto/trace-packet-out", f"resubmit(,{table})"] if table else ["ofproto/trace"]
        argv = ["ovs-appctl", "-t", str(controls[-1]), verb, "--names", self._switch.bridge, flow, *start]
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


def _claim_id(owner: str) -> str:
    """The external_ids key for an installation's claim."""
    return "manor-controller-" + re.sub(r"[^A-Za-z0-9]", "-", owner.removeprefix("manor/"))


def _members(column: Any) -> list[str]:
    """The members of an OVSDB column in JSON: a set, or one value."""
    if isinstance(column, list) and len(column) == 2 and column[0] == "set":
        return [str(value) for value in column[1]]
    return [str(column)] if column else []
