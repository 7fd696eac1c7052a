"""A private Open vSwitch: real daemons, nobody else's switch.

Tests and benchmarks need the real ``ovsdb-server`` and ``ovs-vswitchd`` without touching those of the host, and
several at a time. So each :class:`PrivateOvs` has its own database, its own run directory, the userspace datapath,
and (unless told otherwise) its own network namespace. Hosts on it are network namespaces joined by veths.

Everything made is undone by leaving the context, also on failure; only processes started here are ended.
Needs root, iproute2, ethtool and the openvswitch-switch package.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

__all__ = ["Netns", "OvsHost", "PrivateOvs", "join", "missing_for_ovs", "private_ovs"]

_CLONE_NEWNET = 0x40000000
_IP_MTU_DISCOVER, _IP_PMTUDISC_DO = 10, 2
_SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
_REMOTE = (  # what ``ovs-vsctl set-manager`` and ``set-ssl`` say, as the packaged daemon has it
    "--remote=db:Open_vSwitch,Open_vSwitch,manager_options",
    "--private-key=db:Open_vSwitch,SSL,private_key",
    "--certificate=db:Open_vSwitch,SSL,certificate",
    "--ca-cert=db:Open_vSwitch,SSL,ca_cert",
)
_PROGRAMS = ("ovsdb-tool", "ovsdb-server", "ovs-vswitchd", "ovs-vsctl", "ovs-ofctl", "ovs-appctl", "ip", "ethtool")


def missing_for_ovs() -> str:
    """Why a private Open vSwitch cannot run here, as the reason of a skip; empty when it can."""
    if os.geteuid() != 0:
        return "needs root"
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing or not _SCHEMA.exists():
        return f"needs {', '.join(missing) or _SCHEMA} (openvswitch-switch, iproute2, ethtool)"
    return ""


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _run(argv: Sequence[str], *, env: Mapping[str, str] | None = None, timeout_s: float = 60.0) -> str:
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=timeout_s)  # noqa: S603
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


@dataclass(frozen=True, kw_only=True, slots=True)
class Netns:
    """A network namespace by name; the empty name is the one we are in."""

    name: str = ""

    def argv(self, command: Sequence[str]) -> list[str]:
        """The command line that runs ``command`` inside."""
        return ["ip", "netns", "exec", self.name, *command] if self.name else list(command)

    def run(self, *command: str, timeout_s: float = 60.0) -> str:
        """Run and return standard output. Raises RuntimeError with the program's own words when it fails."""
        return _run(self.argv(command), timeout_s=timeout_s)

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start and leave running; the caller ends it."""
        return subprocess.Popen(  # noqa: S603
            self.argv(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket that lives in this namespace, for use from here. Raises OSError."""
        if not self.name:
            return socket.socket(family, kind, protocol)
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/thread-self/ns/net") as here, open(f"/var/run/netns/{self.name}") as there:
            if libc.setns(there.fileno(), _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), f"cannot enter namespace {self.name}")
            try:
                return socket.socket(family, kind, protocol)
            finally:
                if libc.setns(here.fileno(), _CLONE_NEWNET) != 0:
                    # This thread would go on in the wrong network: nothing after it could be trusted.
                    os.abort()

    def pings(self, address: str, *, count: int = 1, within_s: float = 1.0, packet_bytes: int = 0) -> bool:
        """Whether ``address`` answers one of up to ``count`` echo requests, each within ``within_s``.

        With ``packet_bytes`` the (IPv4) packet is that long, and may not be fragmented.
        """
        six = ":" in address
        family, protocol = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if six else (socket.AF_INET, socket.IPPROTO_ICMP)
        request, reply, skip = (128, 129, 0) if six else (8, 0, 20)
        with self.socket(family, socket.SOCK_RAW, protocol) as channel:
            if packet_bytes:
                channel.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DO)
            for number in range(count):
                token = secrets.token_bytes(8)
                padding = bytes(max(0, packet_bytes - 36) // 2 * 2)
                frame = struct.pack("!BBHHH", request, 0, 0, os.getpid() & 0xFFFF, number) + token + padding
                if not six:
                    frame = frame[:2] + _checksum(frame) + frame[4:]
                until = time.monotonic() + within_s
                with contextlib.suppress(OSError):
                    channel.sendto(frame, (address, 0))
                    while (left := until - time.monotonic()) > 0:
                        channel.settimeout(left)
                        answer = channel.recv(2048)[skip:]
                        if answer[0] == reply and answer[8:16] == token:
                            return True
        return False


def _checksum(data: bytes) -> bytes:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF)


@dataclass(frozen=True, kw_only=True, slots=True)
class OvsHost:
    """A pretended machine: a namespace whose interfaces lead into the switch."""

    netns: Netns
    devices: tuple[str, ...]
    """Switch-side interface names, in the order of the interfaces ``eth0``, ``eth1`` … inside."""
    macs: tuple[str, ...]


class PrivateOvs:
    """``ovsdb-server`` and ``ovs-vswitchd`` of our own, for the time of a ``with`` block.

    :param directory: for sockets, database and logs; a temporary one (short, since socket paths are) if not given.
    :param netns: run in a namespace of our own. False runs them where we are: bridge names must then be unique.
    """

    def __init__(self, directory: Path | None = None, *, netns: bool = True) -> None:
        self._own_directory = directory is None
        self.directory = directory or Path(tempfile.mkdtemp(prefix="mo-ovs-"))
        self._tag = f"{os.getpid() % 100000}{secrets.token_hex(2)}"
        self.netns = Netns(name=f"mo-{self._tag}" if netns else "")
        self._spaces: list[str] = []
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._links: list[str] = []
        self._bridges: list[str] = []
        self.env = {
            **os.environ,
            "OVS_RUNDIR": str(self.directory),
            "OVS_LOGDIR": str(self.directory),
            "OVS_DBDIR": str(self.directory),
            "OVS_SYSCONFDIR": str(self.directory),
        }

    @property
    def ovsdb(self) -> str:
        """The database's address, as ``unix:/…/db.sock``."""
        return f"unix:{self.directory / 'db.sock'}"

    def __enter__(self) -> PrivateOvs:
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.netns.name:
                self._add_netns(self.netns.name)
            database = self.directory / "conf.db"
            if not database.exists():
                _run(["ovsdb-tool", "create", str(database), str(_SCHEMA)])
            self.start_ovsdb()
            self.start_vswitchd()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- daemons

    def start_ovsdb(self) -> None:
        """Start the database server and wait until it answers."""
        self._start(
            "ovsdb-server",
            ["ovsdb-server", str(self.directory / "conf.db"), f"--remote=p{self.ovsdb}", *_REMOTE],
            self.directory / "db.sock",
        )
        self.vsctl("--no-wait", "init")

    def start_vswitchd(self) -> None:
        """Start the switch (userspace datapath only) and wait until it has taken its configuration."""
        self._start(
            "ovs-vswitchd",
            ["ovs-vswitchd", self.ovsdb, "--disable-system"],
            self.directory / "ovs-vswitchd.ctl",
        )
        # A change of configuration is what ovs-vsctl waits for; without one it would return at once.
        self.vsctl("set", "Open_vSwitch", ".", f"external_ids:started={secrets.token_hex(4)}")

    def stop_vswitchd(self, *, kill: bool = False) -> None:
        """End the switch; its flows go with it, its configuration stays in the database."""
        self._end("ovs-vswitchd", kill=kill)

    def pid(self, program: str) -> int:
        """Process id of ``ovsdb-server`` or ``ovs-vswitchd``."""
        return self._processes[program].pid

    def _start(self, program: str, argv: list[str], ready: Path) -> None:
        ready.unlink(missing_ok=True)
        argv += [f"--unixctl={self.directory / f'{program}.ctl'}", f"--log-file={self.directory / f'{program}.log'}"]
        argv += ["-vconsole:off", "--no-chdir"]
        process = subprocess.Popen(  # noqa: S603
            self.netns.argv(argv), env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self._processes[program] = process
        until = time.monotonic() + 60
        while not _listens(ready):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{program} did not start; see {self.directory / f'{program}.log'}")
            time.sleep(0.02)

    def _end(self, program: str, *, kill: bool = False) -> None:
        process = self._processes.pop(program, None)
        if process is None:
            return
        process.kill() if kill else process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)

    def stop(self) -> None:
        """Undo everything; called by leaving the context. May be called twice."""
        if "ovs-vswitchd" in self._processes:
            for bridge in self._bridges:
                with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
                    self.vsctl("--timeout=5", "--if-exists", "del-br", bridge)
        for program in ("ovs-vswitchd", "ovsdb-server"):
            self._end(program)
        if not self.netns.name:
            for link in self._links:
                subprocess.run(["ip", "link", "del", link], capture_output=True)  # noqa: S603, S607
        for space in reversed(self._spaces):
            subprocess.run(["ip", "netns", "del", space], capture_output=True)  # noqa: S603, S607
        self._spaces.clear()
        if self._own_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    # --- clients

    def vsctl(self, *argv: str) -> str:
        """``ovs-vsctl`` on this database."""
        return _run(["ovs-vsctl", f"--db={self.ovsdb}", "--timeout=60", *argv], env=self.env).strip()

    def ofctl(self, *argv: str) -> str:
        """``ovs-ofctl`` with OpenFlow 1.3; a bridge name works as the switch."""
        return _run(["ovs-ofctl", "-O", "OpenFlow13", *argv], env=self.env)

    def appctl(self, *argv: str) -> str:
        """``ovs-appctl`` to this ovs-vswitchd."""
        return _run(["ovs-appctl", "-t", str(self.directory / "ovs-vswitchd.ctl"), *argv], env=self.env)

    def flows(self, bridge: str) -> list[str]:
        """Every flow of a bridge, one line each, without durations and statistics."""
        lines = self.ofctl("--no-stats", "dump-flows", bridge).splitlines()
        return [line.strip() for line in lines if "actions=" in line]

    def add_bridge(self, bridge: str) -> None:
        """A bridge with the userspace datapath that forwards nothing by itself."""
        self._bridges.append(bridge)
        self.vsctl(
            "--may-exist", "add-br", bridge, "--", "set", "bridge", bridge, "datapath_type=netdev", "fail_mode=secure"
        )

    # --- hosts on the switch

    def add_netns(self, label: str) -> Netns:
        """A namespace that goes away with this object; ``label`` is a short word for people."""
        name = f"mo-{self._tag}-{label}"
        self._add_netns(name)
        return Netns(name=name)

    def _add_netns(self, name: str) -> None:
        _run(["ip", "netns", "add", name])
        self._spaces.append(name)
        _run(["ip", "-n", name, "link", "set", "lo", "up"])

    def add_veth(
        self, bridge: str, device: str, inside: Netns, *, name: str = "eth0", mac: str = "", cidrs: Sequence[str] = ()
    ) -> None:
        """Join ``inside`` to ``bridge`` by a veth whose switch end is called ``device``.

        Transmit checksum offload is off at both ends: the userspace datapath passes frames on as they are.
        """
        outer = ["-n", self.netns.name] if self.netns.name else []
        peer_ns = ["netns", inside.name] if inside.name else []
        _run(["ip", *outer, "link", "add", device, "type", "veth", "peer", "name", name, *peer_ns])
        self._links.append(device)
        self.netns.run("ethtool", "-K", device, "tx", "off")
        inside.run("ethtool", "-K", name, "tx", "off")
        if mac:
            inside.run("ip", "link", "set", name, "address", mac)
        for cidr in cidrs:
            inside.run("ip", "addr", "add", cidr, "dev", name, *(["nodad"] if ":" in cidr else []))
        inside.run("ip", "link", "set", name, "up")
        self.netns.run("ip", "link", "set", device, "up")
        if bridge:
            self.vsctl("--may-exist", "add-port", bridge, device)

    def del_veth(self, bridge: str, device: str) -> None:
        """Take the port out of the switch and delete the veth, as a dying machine does."""
        self.vsctl("--if-exists", "del-port", bridge, device)
        self.netns.run("ip", "link", "del", device)

    def add_host(self, bridge: str, label: str, *, mac: str, cidrs: Sequence[str], device: str = "") -> OvsHost:
        """A machine with one interface ``eth0``."""
        inside = self.add_netns(label)
        device = device or f"v{label}"[:15]
        self.add_veth(bridge, device, inside, mac=mac, cidrs=cidrs)
        return OvsHost(netns=inside, devices=(device,), macs=(mac,))

    def add_bump(self, bridge: str, label: str, *, devices: tuple[str, str] | None = None) -> OvsHost:
        """A transparent function: two interfaces joined by a Linux bridge that learns nothing and says nothing."""
        inside = self.add_netns(label)
        pair = devices or (f"v{label}i"[:15], f"v{label}o"[:15])
        inside.run("ip", "link", "add", "br0", "type", "bridge", "stp_state", "0", "mcast_snooping", "0")
        for number, device in enumerate(pair):
            self.add_veth(bridge, device, inside, name=f"eth{number}")
            inside.run("sysctl", "-qw", f"net.ipv6.conf.eth{number}.disable_ipv6=1")
            inside.run("ip", "link", "set", f"eth{number}", "master", "br0")
            inside.run("bridge", "link", "set", "dev", f"eth{number}", "learning", "off")
        inside.run("sysctl", "-qw", "net.ipv6.conf.br0.disable_ipv6=1")
        inside.run("ip", "link", "set", "br0", "up")
        until = time.monotonic() + 60
        while inside.run("bridge", "link").count("state forwarding") < 2:
            if time.monotonic() > until:
                raise RuntimeError(f"the function {label} forwards nothing")
            time.sleep(0.02)
        return OvsHost(netns=inside, devices=pair, macs=("", ""))


def join(switches: Sequence[PrivateOvs], *, bridge: str = "br-phy", mtu: int = 1500) -> list[str]:
    """Put the switches on one network and return their addresses on it, for tunnels between them.

    As the userspace datapath wants it: the address is on a bridge that has the "network card" as its port. The network
    goes away with the first switch.
    """
    hub = switches[0].add_netns("wire")
    hub.run("ip", "link", "add", "hub", "type", "bridge", "stp_state", "0", "mcast_snooping", "0")
    hub.run("ip", "link", "set", "hub", "up")
    addresses = []
    for number, switch in enumerate(switches, start=1):
        switch.add_bridge(bridge)
        switch.vsctl("set-fail-mode", bridge, "standalone")
        switch.add_veth(bridge, "underlay", hub, name=f"port{number}")
        hub.run("ip", "link", "set", f"port{number}", "mtu", str(mtu), "master", "hub")
        for device in ("underlay", bridge):
            switch.netns.run("ip", "link", "set", device, "mtu", str(mtu), "up")
        switch.netns.run("ip", "addr", "add", f"192.0.2.{number}/24", "dev", bridge)
        addresses.append(f"192.0.2.{number}")
    return addresses


@contextlib.contextmanager
def private_ovs(bridge: str, *, netns: bool = True) -> Iterator[PrivateOvs]:
    """A running :class:`PrivateOvs` with one bridge on it."""
    with PrivateOvs(netns=netns) as ovs:
        ovs.add_bridge(bridge)
        yield ovs
