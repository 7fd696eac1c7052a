"""How soon a dead process whose parent has gone is buried: libvirt tells of a QEMU that died no sooner than that."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from manor.api import CallContext, DoctorCheck, Finding, Severity

__all__ = ["burial_check"]

_LATE_S, _MOST_S, _TIMES = 0.5, 3.0, 3
_ORPHAN = "import os\npid = os.fork()\nif pid:\n    print(pid)\nelse:\n    os.read(0, 1)\n"


def burial_check() -> DoctorCheck:
    """Whether who adopts orphans here, most often process 1, takes notice of their deaths at once."""
    return DoctorCheck(name="dead-processes", summary="dead processes are buried at once", check=_check)


def _check(ctx: CallContext) -> Iterator[Finding]:
    slowest_s, heir = 0.0, 0
    for _time in range(_TIMES):  # who looks every two seconds is quick by chance now and then
        heir, lasted_s = _burial(ctx)
        slowest_s = max(slowest_s, lasted_s)
        if slowest_s > _LATE_S:
            name = _status(heir).get("Name", "?")
            message = f"process {heir} ({name}) took {slowest_s:.1f} s to bury one: machines' deaths are told that late"
            hint = "run an init that reaps at once, as systemd does; in a container, tini or docker run --init"
            yield Finding(severity=Severity.WARNING, code="burial-late", message=message, hint=hint)
            return
    message = f"process {heir} buries them within {slowest_s:.2f} s"
    yield Finding(severity=Severity.INFO, code="burial", message=message)


def _burial(ctx: CallContext) -> tuple[int, float]:
    """Who adopted an orphan, and for how many seconds that was dead until it was gone."""
    command = [sys.executable, "-I", "-S", "-c", _ORPHAN]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:  # noqa: S603
        assert parent.stdin
        assert parent.stdout
        orphan = int(parent.stdout.readline())
        parent.wait()
        heir = int(_status(orphan).get("PPid", "0"))
        parent.stdin.close()  # what the orphan waits for, to end
        while _status(orphan).get("State", "Z")[:1] != "Z":
            ctx.check("the end of a process")
            time.sleep(0.002)
        died_s = time.monotonic()
        while _status(orphan) and time.monotonic() < died_s + _MOST_S:
            time.sleep(0.01)
        return heir, time.monotonic() - died_s


def _status(pid: int) -> dict[str, str]:
    """What Linux says of a process; nothing where there is none."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
