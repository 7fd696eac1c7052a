"""What ``manor doctor`` asks of this machine as a hypervisor, and how to mend it.

Where no init system does, a fix starts the daemons itself; where systemd runs, it asks systemd.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from manor.api import CallContext, DoctorCheck, Finding, Severity
from manor.errors import DriverError, Permanent
from manor_vim_libvirt.virtlogd import is_dead, socket_beside

if TYPE_CHECKING:
    from manor_vim_libvirt.link import Link

__all__ = ["checks", "closed_to"]

_URI = "qemu:///system"
_QEMU_USER = "libvirt-qemu"
_PACKAGES = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "libvirtd": "libvirt-daemon-system",
    "virtlogd": "libvirt-daemon-system",
    "virsh": "libvirt-clients",
    "ovs-vsctl": "openvswitch-switch",
    "ovs-vswitchd": "openvswitch-switch",
}


def checks() -> Iterable[DoctorCheck]:
    """The checks, in the order in which one builds on another."""
    yield DoctorCheck(name="qemu", summary="QEMU, libvirt and Open vSwitch are installed", check=_installed)
    yield DoctorCheck(name="libvirt", summary="libvirtd answers", check=_libvirt, fix=_start_libvirt)
    yield DoctorCheck(name="openvswitch", summary="Open vSwitch answers", check=_switch, fix=_start_switch)
    yield DoctorCheck(name="kvm-device", summary="/dev/kvm is open to QEMU", check=_kvm_device, fix=_open_kvm)
    yield DoctorCheck(name="kvm", summary="a tiny guest runs under KVM", check=_kvm)
    yield DoctorCheck(name="memory", summary="libvirt tells the host's memory right", check=_memory)


def _finding(severity: Severity, code: str, message: str, hint: str = "") -> Finding:
    return Finding(severity=severity, code=code, message=message, hint=hint)


def _untried() -> Finding:
    """What was not looked at is not well."""
    return _finding(Severity.WARNING, "untried", "not tried: libvirtd does not answer", "see the check libvirt")


# ---- checks ----


def _installed(_ctx: CallContext) -> Iterator[Finding]:
    missing = {name: package for name, package in _PACKAGES.items() if _which(name) is None}
    if missing:
        yield _finding(
            Severity.ERROR,
            "hypervisor-missing",
            f"not installed: {', '.join(sorted(missing))}",
            f"apt-get install {' '.join(sorted(set(missing.values())))}",
        )


def _which(program: str) -> str | None:
    """Daemons live in sbin, which is not on everybody's PATH."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@contextmanager
def _local() -> Iterator[Link]:
    from manor_vim_libvirt.config import HostConfig
    from manor_vim_libvirt.link import Link

    link = Link(HostConfig(name="localhost", uri=_URI))
    try:
        yield link
    finally:
        link.close()


def _libvirt(_ctx: CallContext) -> Iterator[Finding]:
    import libvirt

    try:
        with _local() as link:
            version = link.connection().getLibVersion()
        yield _finding(Severity.INFO, "libvirt-ok", f"libvirt {version // 1000000}.{version // 1000 % 1000} answers")
    except (DriverError, libvirt.libvirtError) as error:
        yield _finding(Severity.ERROR, "libvirt-unreachable", f"{_URI}: {error}", _start_hint(_LIBVIRT))
        return
    logger = socket_beside(_URI)
    if logger is not None and (not logger.exists() or is_dead(logger)):
        yield _finding(
            Severity.ERROR,
            "virtlogd-unreachable",
            "virtlogd does not run, so no machine with a console log can start",
            _start_hint(_LIBVIRT),
        )


def _switch(ctx: CallContext) -> Iterator[Finding]:
    from manor_vim_libvirt.config import HostConfig
    from manor_vim_libvirt.ovs import Switch

    config = HostConfig(name="localhost", uri=_URI)
    try:
        bridge = Switch("localhost", config.switch_database).bridge(config.bridge, ctx)
    except DriverError as error:
        hint = error.hint if "installed" in error.message else _start_hint(_SWITCH)
        yield _finding(Severity.ERROR, "openvswitch-unreachable", error.message, hint)
        return
    if bridge is None:
        yield _finding(Severity.INFO, "bridge-absent", f"no bridge {config.bridge} yet; made with the first link")
    else:
        kind = "userspace" if bridge.is_userspace else "kernel"
        yield _finding(Severity.INFO, "bridge-ok", f"bridge {config.bridge} on the {kind} datapath")


def _kvm_device(_ctx: CallContext) -> Iterator[Finding]:
    device = Path("/dev/kvm")
    if not device.exists():
        yield _finding(
            Severity.WARNING,
            "kvm-absent",
            "there is no /dev/kvm: machines are emulated (TCG), many times slower",
            "enable virtualisation in the firmware or, on a virtual machine, nested virtualisation; modprobe kvm",
        )
    elif closed_to(_QEMU_USER, device.stat()):
        yield _finding(
            Severity.WARNING,
            "kvm-closed",
            f"/dev/kvm is closed to {_QEMU_USER}: no KVM, and libvirt probes QEMU anew at every start, for seconds",
            "chgrp kvm /dev/kvm && chmod 660 /dev/kvm, or manor doctor --fix",
        )


def closed_to(user: str, device: os.stat_result) -> bool:
    """Whether a user may not both read and write a device; one that does not exist is not asked."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return False
    groups = {entry.pw_gid} | {group.gr_gid for group in grp.getgrall() if user in group.gr_mem}
    mode = device.st_mode
    if device.st_uid == entry.pw_uid:
        return not (mode & stat.S_IRUSR and mode & stat.S_IWUSR)
    if device.st_gid in groups:
        return not (mode & stat.S_IRGRP and mode & stat.S_IWGRP)
    return not (mode & stat.S_IROTH and mode & stat.S_IWOTH)


def _kvm(ctx: CallContext) -> Iterator[Finding]:
    import libvirt

    from manor_vim_libvirt.accel import try_kvm
    from manor_vim_libvirt.facts import read_facts

    try:
        with _local() as link:
            truth = try_kvm(link, read_facts(link.connection()), ctx, limit_s=6.0)
    except (DriverError, libvirt.libvirtError):
        yield _untried()
        return
    if truth.accelerator == "kvm":
        yield _finding(Severity.INFO, "kvm-ok", truth.reason)
    else:
        yield _finding(
            Severity.WARNING,
            "kvm-unusable",
            f"machines are emulated (TCG): {truth.reason}",
            "on a virtual machine ask for nested virtualisation; accel: tcg in the VIM's settings skips the trial",
        )


def _memory(_ctx: CallContext) -> Iterator[Finding]:
    import libvirt

    try:
        with _local() as link:
            connection = link.connection()
            told = connection.getInfo()[1] << 20
            true = connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)["total"] << 10
    except (DriverError, libvirt.libvirtError, KeyError):
        yield _untried()
        return
    if abs(told - true) > true // 10:
        yield _finding(
            Severity.INFO,
            "memory-misreported",
            f"virNodeGetInfo tells {told >> 20} MiB where there are {true >> 20} MiB; Manor uses the latter",
        )


# ---- fixes ----

_LIBVIRT = (("virtlogd", "-d"), ("libvirtd", "-d"))
_SWITCH = (("/usr/share/openvswitch/scripts/ovs-ctl", "start", "--system-id=random"),)
_UNITS = {_LIBVIRT: ("virtlogd.socket", "libvirtd"), _SWITCH: ("openvswitch-switch",)}


def _start_hint(commands: tuple[tuple[str, ...], ...]) -> str:
    if _has_systemd():
        return f"systemctl start {' '.join(_UNITS[commands])}"
    return " && ".join(" ".join(command) for command in commands)


def _has_systemd() -> bool:
    return Path("/run/systemd/system").is_dir()


def _start_libvirt(ctx: CallContext) -> None:
    if _has_systemd():
        _run(("systemctl", "start", *_UNITS[_LIBVIRT]), ctx)
        return
    for command, pid_file in zip(_LIBVIRT, ("/run/virtlogd.pid", "/run/libvirtd.pid"), strict=True):
        if not _is_alive(Path(pid_file)):
            _run(command, ctx)


def _start_switch(ctx: CallContext) -> None:
    commands = (("systemctl", "start", *_UNITS[_SWITCH]),) if _has_systemd() else _SWITCH
    for command in commands:
        _run(command, ctx)


def _open_kvm(_ctx: CallContext) -> None:
    """What Debian's udev rule would have set, where udev runs."""
    device = Path("/dev/kvm")
    if not device.exists():
        return
    try:
        shutil.chown(device, group="kvm")
        device.chmod(0o660)
    except (OSError, LookupError) as error:
        raise Permanent(
            f"cannot open /dev/kvm: {error}", hint="as root: chgrp kvm /dev/kvm; chmod 660 /dev/kvm"
        ) from None


def _is_alive(pid_file: Path) -> bool:
    try:
        os.kill(int(pid_file.read_text()), 0)
    except (OSError, ValueError):
        return False
    return True


def _run(command: Sequence[str], ctx: CallContext) -> None:
    ctx.check(f"running {command[0]}")
    program = _which(command[0])
    if program is None:
        raise Permanent(f"{command[0]} is not installed", hint="manor doctor")
    try:
        done = subprocess.run(  # noqa: S603 - a fixed argument list
            [program, *command[1:]],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=max(1.0, min(60.0, ctx.remaining_s())),
        )
    except subprocess.TimeoutExpired:
        raise Permanent(f"{' '.join(command)} did not end in time", hint="run it by hand") from None
    if done.returncode != 0:
        words = " ".join((done.stderr or done.stdout).split())[:300]
        raise Permanent(f"{' '.join(command)} failed: {words}", hint="run it by hand, as root")
