"""Checks for ``manor doctor``: does the library run, does a switch answer, does it speak OpenFlow 1.3."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from manor.api import CallContext, Finding, Severity

__all__ = ["check_libraries", "check_switch"]

_PROBE = "from manor_sdn_ryu.runtime import Runtime, load; print(load(Runtime({name!r})).version)"


def check_libraries(ctx: CallContext) -> Iterable[Finding]:
    """Ryu, or os-ken, can be imported and set up, in a process of its own."""
    working = []
    for name in ("ryu", "os-ken"):
        argv = [sys.executable, "-W", "ignore", "-c", _PROBE.format(name=name)]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=max(1.0, ctx.remaining_s()))  # noqa: S603
        except subprocess.TimeoutExpired:
            yield Finding(severity=Severity.WARNING, code=f"{name}-slow", message=f"{name} took too long to import")
            continue
        if done.returncode == 0:
            working.append(name)
            yield Finding(severity=Severity.INFO, code=f"{name}-runs", message=f"{name} {done.stdout.strip()} runs")
        else:
            words = done.stderr.strip().splitlines()
            severity = Severity.INFO if name == "os-ken" else Severity.WARNING
            message = f"{name} does not run: {words[-1] if words else 'no reason given'}"
            hint = "pip install 'manor-sdn-ryu[os-ken]'" if name == "os-ken" else "uv sync"
            yield Finding(severity=severity, code=f"{name}-missing", message=message, hint=hint)
    if not working:
        yield Finding(
            severity=Severity.ERROR, code="no-controller", message="neither Ryu nor os-ken runs", hint="uv sync"
        )


def check_switch(ctx: CallContext) -> Iterable[Finding]:
    """The local Open vSwitch answers and can speak OpenFlow 1.3."""
    database = Path("/run/openvswitch/db.sock")
    try:
        if not database.exists():
            yield Finding(
                severity=Severity.ERROR, code="ovs-down", message=f"Open vSwitch does not run: no {database}",
                hint="systemctl start openvswitch-switch, or /usr/share/openvswitch/scripts/ovs-ctl start",
            )  # fmt: skip
            return
        argv = ["ovs-vsctl", f"--db=unix:{database}", "--timeout=5", "get", "Open_vSwitch", ".", "ovs_version"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=max(1.0, ctx.remaining_s()))  # noqa: S603
        if done.returncode != 0:
            message = f"Open vSwitch does not answer: {done.stderr.strip()}"
            yield Finding(
                severity=Severity.ERROR, code="ovs-silent", message=message, hint="restart openvswitch-switch"
            )
            return
        version = done.stdout.strip().strip('"')
        yield Finding(severity=Severity.INFO, code="ovs-runs", message=f"Open vSwitch {version} answers")
        speaks = subprocess.run(["ovs-ofctl", "--version"], capture_output=True, text=True, timeout=10)  # noqa: S607
        last = speaks.stdout.strip().rpartition(":")[2]
        if last.strip() and int(last.strip(), 16) < 4:
            yield Finding(
                severity=Severity.ERROR, code="ovs-old", message=f"{speaks.stdout.strip()} knows no OpenFlow 1.3"
            )
    except (FileNotFoundError, subprocess.TimeoutExpired, ValueError) as error:
        yield Finding(
            severity=Severity.ERROR, code="ovs-missing", message=f"Open vSwitch cannot be asked: {error}",
            hint="apt install openvswitch-switch",
        )  # fmt: skip
