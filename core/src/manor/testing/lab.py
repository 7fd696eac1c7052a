"""Real hypervisor hosts on one machine, because "works on two hosts" must be shown without two hosts.

A :class:`LabHost` is one process tree in its own network, mount and process namespaces, with its own virtlogd,
libvirtd, ovsdb-server and ovs-vswitchd. Everything of it lies under one directory, and its sockets are reached from
outside by path. The kernel ends every process of it, tap and mount included, with the first process of the
namespace; that one ends when its standard input closes. So a test that is killed leaves nothing running.

Needs root and the Debian packages ``libvirt-daemon-system``, ``qemu-system-x86`` and ``openvswitch-switch``.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

__all__ = ["LabHost", "cable", "plugged_in", "underlay"]

_SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
_CAPS_CACHE = Path("/var/cache/manor-lab/qemu-capabilities")
"""What libvirt found out about QEMU; kept over labs because the probe takes seconds."""
_PRIVATE = {
    "run": "/run",
    "etc-libvirt": "/etc/libvirt",
    "lib-libvirt": "/var/lib/libvirt",
    "cache-libvirt": "/var/cache/libvirt",
    "log-libvirt": "/var/log/libvirt",
    "etc-openvswitch": "/etc/openvswitch",
    "log-openvswitch": "/var/log/openvswitch",
}
_SOCKET_PATH_MAX = 107
_DATABASE, _DATABASE_SOCKET = "/etc/openvswitch/conf.db", "/run/openvswitch/db.sock"
_LOGGED = ("--log-file", "--pidfile")
_DAEMONS = {
    "virtlogd": ("virtlogd",),
    "libvirtd": ("libvirtd",),
    "ovsdb-server": ("ovsdb-server", _DATABASE, f"--remote=punix:{_DATABASE_SOCKET}", *_LOGGED),
    "ovs-vswitchd": ("ovs-vswitchd", f"unix:{_DATABASE_SOCKET}", *_LOGGED),
}


class LabHost:
    """A host with libvirt and Open vSwitch of its own, as a context manager.

    ``workdir`` must be absent or empty and is removed at the end; choose a short path, as a UNIX socket's path has
    at most 107 characters. ``qemu_user`` is who QEMU runs as.
    """

    def __init__(self, name: str, workdir: Path, *, qemu_user: str = "libvirt-qemu") -> None:
        self.name = name
        self.workdir = workdir
        self.pool_dir = workdir / "pool"
        """A directory that has the same path inside and outside."""
        self._qemu_user = qemu_user
        self._process: subprocess.Popen[bytes] | None = None
        self.pid = 0
        """Process whose namespaces are the host's, for ``nsenter`` and ``ip link set … netns``."""
        if len(str(self.libvirt_socket)) > _SOCKET_PATH_MAX:
            raise ValueError(f"lab host {name}: {workdir} is too long for a socket path; choose a shorter one")

    @property
    def libvirt_socket(self) -> Path:
        return self.workdir / "run/libvirt/libvirt-sock"

    @property
    def uri(self) -> str:
        """The libvirt URI, as usable from outside."""
        return f"qemu+unix:///system?socket={self.libvirt_socket}"

    @property
    def ovsdb(self) -> str:
        """The switch database, as ``ovs-vsctl --db=`` takes it outside."""
        return f"unix:{self.workdir}/run/openvswitch/db.sock"

    def argv(self, *argv: str) -> list[str]:
        """The command that runs ``argv`` inside the host."""
        return ["nsenter", f"--target={self.pid}", "--mount", "--net", "--pid", "--", *argv]

    def run(self, *argv: str, timeout_s: float = 60.0) -> str:
        """Run a command inside the host and return its output. Raises CalledProcessError when it fails."""
        done = subprocess.run(  # noqa: S603 - the caller is a test
            self.argv(*argv), check=True, capture_output=True, text=True, timeout=timeout_s
        )
        return done.stdout

    def end(self, daemon: str, sign: str = "TERM") -> None:
        """Send one of the host's daemons this signal, by name; none of it is left when this returns.

        Raises RuntimeError where it does not end.
        """
        pidof, until_s = self.argv("pidof", daemon), time.monotonic() + 120.0
        for pid in subprocess.run(pidof, capture_output=True, text=True).stdout.split():  # noqa: S603
            with contextlib.suppress(subprocess.CalledProcessError):  # it has just ended by itself
                self.run("kill", f"-{sign}", pid)
        while subprocess.run(pidof, capture_output=True).returncode == 0:  # noqa: S603
            if time.monotonic() > until_s:
                raise RuntimeError(f"{daemon} of lab host {self.name} does not end")
            time.sleep(0.05)

    def begin(self, daemon: str) -> None:
        """Start a daemon again that was ended; it may take a moment until it answers."""
        detach = "--detach" if daemon.startswith("ovs") else "-d"
        with (self.workdir / "lab.log").open("ab") as log:
            argv = self.argv(*_DAEMONS[daemon], detach)
            subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=60)  # noqa: S603

    def power_off(self) -> None:
        """All that runs ends at once; what is on the disk stays."""
        self._end()
        shutil.rmtree(self.workdir / "run", ignore_errors=True)

    def power_on(self) -> None:
        """Boot again, to the daemons. Raises RuntimeError where they do not come up."""
        setup = json.dumps({"workdir": str(self.workdir), "qemu_user": self._qemu_user})
        unshare = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
        with (self.workdir / "lab.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                [*unshare, sys.executable, "-m", "manor.testing.lab", setup],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._await_ready(180.0)
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
            self.pid = int(children.split()[0])
        except BaseException:
            self._stop()
            raise

    def __enter__(self) -> LabHost:
        self.workdir.mkdir(parents=True, exist_ok=True)
        self.workdir.chmod(0o711)
        self.power_on()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _await_ready(self, timeout_s: float) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], timeout_s)
        word = self._process.stdout.readline() if ready else b""
        if word.strip() != b"ready":
            log = (self.workdir / "lab.log").read_text(errors="replace")[-2000:]
            raise RuntimeError(f"lab host {self.name} did not come up in {timeout_s:.0f} s:\n{log}")

    def _stop(self) -> None:
        self._end()
        shutil.rmtree(self.workdir, ignore_errors=True)

    def _end(self) -> None:
        if self._process is None:
            return
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()  # --kill-child takes the namespace's first process, and so all, with it
            self._process.wait()
        self._process = None


def cable(one: LabHost, other: LabHost, device: str, peer: str) -> None:
    """Join two hosts by a virtual Ethernet cable: ``device`` in ``one``, ``peer`` in ``other``, both up."""
    enter = ["nsenter", f"--target={one.pid}", "--net", "--"]
    link = ["ip", "link", "add", device, "type", "veth", "peer", "name", peer, "netns", str(other.pid)]
    subprocess.run([*enter, *link], check=True)  # noqa: S603
    for host, name in ((one, device), (other, peer)):
        host.run("ip", "link", "set", name, "up")
        # The userspace datapath does not fill in checksums that a veth leaves to hardware.
        host.run("ethtool", "-K", name, "tx", "off")


def underlay(labs: Mapping[str, LabHost]) -> dict[str, str]:
    """One network over the hosts, as the userspace datapath wants it, with the address on a bridge of its own
    (``br-phy``); the addresses, by host."""
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
    """Give a host of an underlay what no power cut leaves: its address, and the cable to the first one."""
    number, lab = [*labs].index(host) + 1, labs[host]
    if number > 1:
        cable(next(iter(labs.values())), lab, f"to{number}", "to1")
    end_s = time.monotonic() + 60.0
    while " br-phy: " not in lab.run("ip", "-o", "link"):  # the switch makes it some time after it has started
        if time.monotonic() > end_s:
            raise RuntimeError(f"the switch of lab host {host} makes no bridge")
        time.sleep(0.1)
    lab.run("ip", "addr", "add", f"192.0.2.{number}/24", "dev", "br-phy")
    lab.run("ip", "link", "set", "br-phy", "up")


# ---- inside: the first process of the namespaces ----


def _inside(workdir: Path, qemu_user: str) -> None:
    _mount_private(workdir, qemu_user)
    _call("ip", "link", "set", "lo", "up")
    daemons = [_start(*_DAEMONS["virtlogd"]), _start(*_DAEMONS["libvirtd"])]
    daemons += _start_openvswitch()
    _await_socket("/run/libvirt/libvirt-sock", daemons)
    threading.Thread(target=_reap, daemon=True).start()
    print("ready", flush=True)  # noqa: T201 - the word that the outer process waits for
    sys.stdin.read()
    _keep_capabilities()


def _mount_private(workdir: Path, qemu_user: str) -> None:
    for name, target in _PRIVATE.items():
        source = workdir / name
        source.mkdir(mode=0o755, exist_ok=True)
        Path(target).mkdir(parents=True, exist_ok=True)
        _call("mount", "--bind", str(source), target)
    for name in ("libvirt", "openvswitch", "lock"):
        Path("/run", name).mkdir(exist_ok=True)
    _open_kvm(workdir, qemu_user)
    _call("mount", "-t", "sysfs", "sysfs", "/sys")  # shows this namespace's interfaces, and no cgroups
    Path("/etc/libvirt/libvirtd.conf").write_text('auth_unix_rw = "none"\nunix_sock_rw_perms = "0700"\n')
    Path("/etc/libvirt/virtlogd.conf").write_text("")
    Path("/etc/libvirt/qemu.conf").write_text(
        f'user = "{qemu_user}"\ncgroup_controllers = []\nsecurity_driver = "none"\n'
    )
    if _CAPS_CACHE.is_dir():
        shutil.copytree(_CAPS_CACHE, "/var/cache/libvirt/qemu/capabilities", dirs_exist_ok=True)


def _open_kvm(workdir: Path, qemu_user: str) -> None:
    """Where /dev/kvm is closed to QEMU's user, libvirt probes QEMU anew at every start, for seconds each time."""
    kvm = Path("/dev/kvm")
    if kvm.exists():
        private = workdir / "kvm"
        if not private.exists():
            os.mknod(private, stat.S_IFCHR | 0o600, kvm.stat().st_rdev)
        shutil.chown(private, qemu_user)
        _call("mount", "--bind", str(private), str(kvm))


def _keep_capabilities() -> None:
    found = Path("/var/cache/libvirt/qemu/capabilities")
    with contextlib.suppress(OSError):  # a cache only
        shutil.copytree(found, _CAPS_CACHE, dirs_exist_ok=True)


def _start_openvswitch() -> list[subprocess.Popen[bytes]]:
    if not Path(_DATABASE).exists():
        _call("ovsdb-tool", "create", _DATABASE, _SCHEMA)
    server = _start(*_DAEMONS["ovsdb-server"])
    _await_socket(_DATABASE_SOCKET, [server])
    _call("ovs-vsctl", "--no-wait", "--timeout=60", "init")
    switch = _start(*_DAEMONS["ovs-vswitchd"])
    _call("ovs-vsctl", "--timeout=60", "set", "Open_vSwitch", ".", "external_ids:system-id=manor-lab")
    return [server, switch]


def _start(*argv: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(list(argv), stdin=subprocess.DEVNULL, stdout=sys.stderr)  # noqa: S603


def _call(*argv: str) -> None:
    subprocess.run(list(argv), check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)  # noqa: S603


def _await_socket(path: str, daemons: Sequence[subprocess.Popen[bytes]], timeout_s: float = 60.0) -> None:
    until = time.monotonic() + timeout_s
    while True:
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
            probe.connect(path)
            return
        dead = [daemon.args for daemon in daemons if daemon.poll() is not None]
        if dead or time.monotonic() > until:
            raise RuntimeError(f"{path} does not answer; ended early: {dead}")
        time.sleep(0.02)


def _reap() -> None:
    """Orphans of this process namespace come to its first process; unreaped, libvirt takes them for alive."""
    while True:
        try:
            os.wait()
        except ChildProcessError:
            time.sleep(0.2)


if __name__ == "__main__":
    _setup = json.loads(sys.argv[1])
    _inside(Path(_setup["workdir"]), _setup["qemu_user"])
