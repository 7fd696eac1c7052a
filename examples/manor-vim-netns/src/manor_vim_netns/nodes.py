"""A node is a network namespace and a process in it that is the first of its process namespace. Nothing else is kept.

So what runs is read from the kernel, and a crash of Manor between any two steps leaves nothing that is not found again:
the namespace's name is made from the key.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from manor.api import CallContext
from manor.errors import DeadlineExceeded, Permanent, Unsupported

from manor_vim_netns.limits import Limits
from manor_vim_netns.programs import run, tried
from manor_vim_netns.switch import Bridge

__all__ = ["Nodes", "boot_script", "init_pids"]

_SPACES = Path("/run/netns")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]*")


class Nodes:
    """Starts and stops nodes; ``directory`` holds mount points and boot scripts."""

    def __init__(self, directory: Path, bridge: Bridge) -> None:
        self._directory = directory
        self._bridge = bridge
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def start(self, name: str, spec: dict[str, Any], lower: str, ctx: CallContext) -> None:
        """A fresh namespace with its ports, and the first process in it. Whatever was left of an earlier one goes."""
        what = f"node {spec['key']}"
        if (_SPACES / name).exists():
            self.stop(name, [port["device"] for port in spec["ports"]], what, ctx)
        _delete_links([port["device"] for port in spec["ports"]], ctx)
        ctx.check(what)
        run(["ip", "netns", "add", name], what, ctx)
        outside, inside = _link_commands(name, spec)
        run(["ip", "-batch", "-"], what, ctx, stdin=outside.encode())
        run(["ip", "-n", name, "-batch", "-"], what, ctx, stdin=inside.encode())
        for number, port in enumerate(spec["ports"]):
            # The userspace datapath passes frames on as they are: checksums have to be there.
            run(["ethtool", "-K", port["device"], "tx", "off"], what, ctx)
            run(["ip", "netns", "exec", name, "ethtool", "-K", f"eth{number}", "tx", "off"], what, ctx)
        self._bridge.plug([port["device"] for port in spec["ports"]], what, ctx)
        self._boot(name, spec, lower, ctx)

    def _boot(self, name: str, spec: dict[str, Any], lower: str, ctx: CallContext) -> None:
        place = self._directory / name
        place.mkdir(mode=0o700, exist_ok=True)
        script = place.with_suffix(".boot")
        script.write_text(ctx.reveal(boot_script(spec["user_data"], spec["key"])))
        script.chmod(0o600)
        groups = Limits(name).make(memory_bytes=spec["memory_bytes"], vcpus=spec["vcpus"])
        init = ["/bin/sh", str(resources.files("manor_vim_netns") / "init.sh"), str(place), lower]
        init += [str(spec["memory_bytes"]), spec["name"], *map(str, groups)]
        spaces = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--propagation", "private"]
        log = place.with_suffix(".log")
        ctx.check(f"node {spec['key']}")
        with open(log, "wb", opener=_private) as output:
            # It has to outlive this process, and to be nobody's zombie.
            argv = ["setsid", "--fork", "nsenter", f"--net={_SPACES / name}", *spaces, *init]
            subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=True)
        while not init_pids([name]):
            if ctx.remaining_s() <= 0:
                raise DeadlineExceeded(f"node {spec['key']}: its first process did not start; see {log}")
            time.sleep(0.005)

    def stop(self, name: str, devices: Sequence[str], what: str, ctx: CallContext) -> None:
        """No process, no namespace, no ports. The interfaces go with the namespace that holds their other ends."""
        for pid in _inside(name):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._bridge.unplug(devices, what, ctx)
        if (_SPACES / name).exists():
            run(["ip", "netns", "del", name], what, ctx)
        _delete_links(devices, ctx)
        Limits(name).remove()

    def forget(self, name: str) -> None:
        """Nothing is left in the directory."""
        place = self._directory / name
        for path in (place.with_suffix(".boot"), place.with_suffix(".log")):
            path.unlink(missing_ok=True)
        if place.exists():
            place.rmdir()


def _delete_links(devices: Sequence[str], ctx: CallContext) -> None:
    """The kernel takes a namespace apart in its own time, and until then the host's ends of its veths are there."""
    for device in devices:
        if Path("/sys/class/net", device).exists():
            tried(["ip", "link", "del", device], ctx)  # gone meanwhile is as good


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _link_commands(name: str, spec: dict[str, Any]) -> tuple[str, str]:
    """For ``ip -batch``, on the host and in the namespace. Raises Permanent for a word that could be more than one."""
    for port in spec["ports"]:
        for word in (port["device"], port["mac"], *port["addresses"], *filter(None, [port["gateway"]])):
            if not _WORD.fullmatch(word):
                raise Permanent(f"node {spec['key']}: {word!r} is no name or address")
    outside, inside = [], ["link set lo up"]
    for number, port in enumerate(spec["ports"]):
        device, end = port["device"], f"eth{number}"
        outside.append(f"link add {device} type veth peer name {end} netns {name}")
        outside.append(f"link set {device} mtu {port['mtu']} up")
        inside.append(f"link set {end} address {port['mac']} mtu {port['mtu']} up")
        inside += [f"addr add {a} dev {end}{' nodad' if ':' in a else ''}" for a in port["addresses"]]
        if port["gateway"]:
            inside.append(f"route add default via {port['gateway']} dev {end}")
    return "".join(f"{line}\n" for line in outside), "".join(f"{line}\n" for line in inside)


def boot_script(user_data: str, key: str) -> str:
    """The script that a node runs first: a script as it is, of a cloud-config the hostname and the commands."""
    if not user_data.strip():
        return "#!/bin/sh\n"
    if user_data.startswith("#!"):
        return user_data
    import yaml

    given = yaml.safe_load(user_data) if user_data.startswith("#cloud-config") else None
    unknown = sorted(set(given) - {"hostname", "runcmd"}) if isinstance(given, dict) else ["a format"]
    if unknown:
        raise Unsupported(
            f"node {key}: user-data has {', '.join(map(str, unknown))}", capability="cloud-init",
            hint="give a script, or a cloud-config of hostname and runcmd",
        )  # fmt: skip
    lines = ["#!/bin/sh -e"]
    if given.get("hostname"):
        lines.append(f"echo {shlex.quote(str(given['hostname']))} >/etc/hostname")
    for command in given.get("runcmd") or ():
        lines.append(shlex.join(map(str, command)) if isinstance(command, list) else str(command))
    return "\n".join(lines) + "\n"


def _inside(name: str) -> list[int]:
    return [pid for pid, _ in _processes({name}).get(name, [])]


def init_pids(names: Sequence[str]) -> dict[str, int]:
    """Process id of the first process of each of these nodes that runs. One look at /proc for all of them."""
    found = {}
    for name, processes in _processes(set(names)).items():
        first = [pid for pid, inner in processes if inner == 1]
        if first:
            found[name] = min(first)
    return found


def _processes(names: set[str]) -> dict[str, list[tuple[int, int]]]:
    """(process id, the same in its own namespace) by network namespace."""
    spaces: dict[int, str] = {}
    for name in names:
        try:
            spaces[(_SPACES / name).stat().st_ino] = name
        except OSError:
            continue
    found: dict[str, list[tuple[int, int]]] = {}
    for entry in os.listdir("/proc") if spaces else ():
        if not entry.isdigit():
            continue
        try:
            name = spaces.get(os.stat(f"/proc/{entry}/ns/net").st_ino, "")
            if name:
                status = Path(f"/proc/{entry}/status").read_text()
                fields = dict(line.partition(":\t")[::2] for line in status.splitlines())
                if not fields["State"].startswith(("Z", "X")):
                    found.setdefault(name, []).append((int(entry), int(fields["NSpid"].split()[-1])))
        except (OSError, KeyError, ValueError):
            continue  # it ended meanwhile
    return found
