"""A real SSH server, and a network of the test's own in which it answers at the addresses that machines have."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Sshd", "keygen", "network_of_our_own"]

_CLONE_NEWNET = 0x40000000


def keygen(path: Path) -> None:
    """A key pair."""
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


@dataclass
class Sshd:
    """A server of our own; who is in ``authorized_keys`` of its place may log in."""

    place: Path
    port: int
    address: str = "127.0.0.1"
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """With a host key that was never seen; returns when it listens."""
        self.stop()
        for old in self.place.glob("host*"):
            old.unlink()
        keygen(self.place / "host")
        Path("/run/sshd").mkdir(exist_ok=True)
        config = self.place / "sshd_config"
        config.write_text(
            f"Port {self.port}\nListenAddress {self.address}\nHostKey {self.place / 'host'}\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {self.place / 'authorized_keys'}\nStrictModes no\nPasswordAuthentication no\n"
        )
        self.process = subprocess.Popen(
            ["/usr/sbin/sshd", "-D", "-e", "-f", str(config)], stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if "listening on" in line:
                return
        raise AssertionError("sshd ended")

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.terminate()
            self.process.communicate(timeout=20)
            self.process = None


@contextmanager
def network_of_our_own(cidr: str) -> Iterator[None]:
    """This thread, and what it starts, in a new network namespace where every address of ``cidr`` is our own.

    It has no name, and is gone with the last process in it.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def enter(done: int) -> None:
        if done != 0:
            raise OSError(ctypes.get_errno(), "cannot change the network namespace")

    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter(libc.unshare(_CLONE_NEWNET))
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            subprocess.run(["ip", "address", "add", cidr, "dev", "lo"], check=True)
            yield
        finally:
            enter(libc.setns(before, _CLONE_NEWNET))
    finally:
        os.close(before)
