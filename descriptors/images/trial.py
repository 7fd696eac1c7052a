"""Machines that boot the image with nothing but QEMU: no libvirt, no bridge, no root.

For trying an image by hand, and for its tests.
"""

from __future__ import annotations

import base64
import io
import json
import select
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from images.vnf import VnfImage

__all__ = ["BOOT_S", "Machine", "start_machine", "write_seed"]

BOOT_S = 90.0
"""Allowed on a loaded machine; alone it takes under 5 s."""


def write_seed(path: Path, *, name: str, user_data: str, network_config: str) -> None:
    """A NoCloud seed as a VIM makes it."""
    import pycdlib

    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident="cidata")
    files = {
        "meta-data": f"instance-id: {name}\nlocal-hostname: {name}\n",
        "network-config": network_config,
        "user-data": user_data,
    }
    for number, (file, text) in enumerate(files.items()):
        data = text.encode()
        iso.add_fp(io.BytesIO(data), len(data), f"/F{number}.;1", rr_name=file, joliet_path=f"/{file}")
    iso.write(str(path))
    iso.close()


@dataclass
class Machine:
    """A running guest: its console as text, its agent for commands."""

    name: str
    console: Path
    process: subprocess.Popen[bytes]
    agent: socket.socket

    def wait_for(self, text: str, seconds: float = BOOT_S) -> str:
        """What the console said up to ``text``; fails when the machine ends or says it has failed."""
        deadline = time.monotonic() + seconds
        while True:
            said = self.console.read_text(errors="replace") if self.console.exists() else ""
            if text in said:
                return said
            assert self.process.poll() is None, f"{self.name} ended: {said}"
            assert "FAILED" not in said, f"{self.name}: {said}"
            assert time.monotonic() < deadline, f"{self.name} did not say {text!r}: {said}"
            time.sleep(0.05)  # the console is a file; nothing announces a new line

    def command(self, execute: str, **arguments: Any) -> Any:
        """One request to the guest agent, and its answer."""
        request = {"execute": execute, "arguments": arguments}
        self.agent.sendall(json.dumps(request).encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            ready, _, _ = select.select([self.agent], [], [], BOOT_S)
            assert ready, f"{self.name}: the agent does not answer {execute}"
            answer += self.agent.recv(65536)
        result = json.loads(answer)
        assert "error" not in result, f"{self.name}: {result}"
        return result["return"]

    def run(self, *argv: str) -> tuple[int, str]:
        """Exit code (or minus the signal that ended it) and output of a program in the guest."""
        pid = self.command("guest-exec", path=argv[0], arg=list(argv[1:]), **{"capture-output": True})["pid"]
        while True:
            status = self.command("guest-exec-status", pid=pid)
            if status["exited"]:
                output = b"".join(base64.b64decode(status.get(key, "")) for key in ("out-data", "err-data"))
                return status.get("exitcode", -status.get("signal", 0)), output.decode()
            time.sleep(0.05)  # the agent has no way to tell when a program ends

    def stop(self) -> None:
        """End the machine at once."""
        self.agent.close()
        self.process.kill()
        self.process.wait()


def start_machine(
    image: VnfImage,
    folder: Path,
    name: str,
    *,
    user_data: str = "",
    network_config: str = "",
    nics: Sequence[tuple[str, str]] = (),
) -> Machine:
    """Start a machine whose files lie in ``folder``. ``nics`` are pairs of MAC address and QEMU netdev (no id)."""
    seed, console, agent = folder / f"{name}.iso", folder / f"{name}.log", folder / f"{name}.qga"
    write_seed(seed, name=name, user_data=user_data, network_config=network_config)
    argv = ["qemu-system-x86_64", "-accel", "tcg", "-machine", "pc", "-m", "128", "-nodefaults"]
    argv += ["-display", "none", "-no-reboot", "-kernel", image.kernel.path]
    argv += ["-initrd", image.initramfs.path, "-append", "console=ttyS0 quiet"]
    argv += ["-serial", f"file:{console}", "-drive", f"file={seed},if=virtio,format=raw,readonly=on"]
    argv += ["-device", "virtio-serial-pci", "-chardev", f"socket,path={agent},server=on,wait=off,id=qga"]
    argv += ["-device", "virtserialport,chardev=qga,name=org.qemu.guest_agent.0"]
    for number, (mac, netdev) in enumerate(nics):
        argv += ["-netdev", f"{netdev},id=net{number}"]
        argv += ["-device", f"virtio-net-pci,netdev=net{number},mac={mac},romfile="]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    machine = Machine(name, console, process, channel)
    deadline = time.monotonic() + BOOT_S
    while True:
        try:
            channel.connect(str(agent))
            return machine
        except (FileNotFoundError, ConnectionRefusedError):
            assert process.poll() is None, f"{name}: QEMU ended with {process.returncode}"
            assert time.monotonic() < deadline, f"{name}: QEMU opened no agent socket"
            time.sleep(0.02)  # QEMU does not say when its socket is there
