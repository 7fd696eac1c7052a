"""Whether KVM tells the truth on a host: found out by starting a tiny guest, and remembered.

``/dev/kvm`` may be there and yet run nothing: on some nested or paravirtual hosts QEMU aborts on a register, or the
guest crawls through its firmware and hangs later. The tiny guest is a machine without a disk on the host's own CPU
model: its firmware finds nothing to boot and restarts, which ends it. Under a KVM that works this takes some tens of
milliseconds; one that takes longer than emulation is of no use, and counts as none.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from manor.api import CallContext
from manor_vim_libvirt.alone import alone
from manor_vim_libvirt.domain_xml import probe_xml
from manor_vim_libvirt.facts import Facts
from manor_vim_libvirt.link import Link

__all__ = ["Truth", "Truths", "try_kvm"]

_TRIAL_LOCK = threading.Lock()
"""Two trials at once would slow each other down and call a good KVM slow."""
_PREFACE = re.compile(r"^internal error: |process exited while connecting to monitor: |\d{4}-\d\d-\d\dT\S+ ")
_SUSPICIOUS_S = 1.0
_MUCH_SLOWER = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Truth:
    """The answer for one host."""

    accelerator: str
    """``kvm`` or ``tcg``."""
    reason: str
    identity: str
    """What it holds for; another kernel, QEMU or CPU asks again."""
    tried_at_s: float = 0.0


class Truths:
    """Answers by host, kept in a file of the endpoint's state directory."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "kvm-truth.json"

    def found(self, host: str, identity: str, trial: Callable[[], Truth], ctx: CallContext) -> Truth:
        """The remembered answer, else that of a trial, which is remembered. Raises DeadlineExceeded where others try
        for too long."""
        if (known := self.recall(host, identity)) is not None:
            return known
        with _TRIAL_LOCK, alone(self._path.with_suffix(".lock"), ctx, "finding out about KVM"):
            if (known := self.recall(host, identity)) is not None:
                return known
            truth = trial()
            self.remember(host, truth)
            return truth

    def recall(self, host: str, identity: str) -> Truth | None:
        """The remembered answer, unless it was for another kernel, QEMU or CPU."""
        found = self._read().get(host)
        return found if found is not None and found.identity == identity else None

    def remember(self, host: str, truth: Truth) -> None:
        """Keep an answer; the file is replaced whole."""
        known = {**self._read(), host: truth}
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self._path.with_name(f".{self._path.name}.{uuid.uuid4().hex[:8]}")
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump({name: asdict(item) for name, item in known.items()}, file, indent=1)
        fresh.replace(self._path)

    def forget(self) -> None:
        """Ask anew next time."""
        self._path.unlink(missing_ok=True)

    def _read(self) -> dict[str, Truth]:
        try:
            data = json.loads(self._path.read_text())
            return {host: Truth(**item) for host, item in data.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}  # a missing or broken memory costs one more trial


def try_kvm(link: Link, facts: Facts, ctx: CallContext, *, limit_s: float) -> Truth:
    """Start the tiny guest and say what came of it. Leaves nothing behind."""
    identity = identity_of(link, facts)

    def answer(accelerator: str, reason: str) -> Truth:
        return Truth(accelerator=accelerator, reason=reason, identity=identity, tried_at_s=time.time())

    if "kvm" not in facts.domain_types:
        return answer("tcg", "libvirt offers no KVM here: no /dev/kvm, or it is closed to QEMU's user")
    took_s, why = _trial(link, facts, "kvm", min(limit_s, ctx.remaining_s()))
    if took_s is None:
        return answer("tcg", f"KVM lies: {why}")
    if took_s > _SUSPICIOUS_S:
        emulated_s, _ = _trial(link, facts, "qemu", min(limit_s, ctx.remaining_s()))
        if emulated_s is not None and took_s > _MUCH_SLOWER * emulated_s:
            reason = f"KVM lies: its guest took {took_s:.1f} s where emulation takes {emulated_s:.1f} s"
            return answer("tcg", reason)
    return answer("kvm", f"a guest ran under KVM in {took_s:.2f} s")


def identity_of(link: Link, facts: Facts) -> str:
    """What an answer holds for."""
    kernel = os.uname().release if link.config.is_local else ""
    return f"{facts.identity} kernel {kernel}".strip()


def _trial(link: Link, facts: Facts, domain_type: str, limit_s: float) -> tuple[float | None, str]:
    """Seconds from start to end of the tiny guest; None and why when it did not get there."""
    import libvirt

    connection = link.connection()
    name = f"manor-trial-{uuid.uuid4().hex[:8]}"
    try:
        domain = connection.createXML(
            probe_xml(domain_type, name, arch=facts.arch), libvirt.VIR_DOMAIN_START_AUTODESTROY
        )
    except libvirt.libvirtError as error:
        return None, _brief(str(error.get_error_message()))
    began = time.monotonic()
    ended = link.events.wait_stopped(domain.UUIDString(), limit_s)
    took_s = time.monotonic() - began
    if ended is None:
        try:
            domain.destroy()
        except libvirt.libvirtError:
            pass  # it ended by itself just now
        return None, f"a guest without a disk did not get through its firmware in {limit_s:.0f} s"
    if ended.detail != "shutdown":
        return None, f"QEMU ended with {ended.detail!r}"
    return took_s, ""


def _brief(words: str) -> str:
    """QEMU's own words, without libvirt's preface and the time."""
    return _PREFACE.sub("", " ".join(words.split()))[:160]
