"""Inside by SSH: a real sshd on loopback, the same code as for a machine."""

import getpass
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from manor.api import CallContext, Script, VnfcView, VnfView
from manor.errors import DeadlineExceeded, Indeterminate, Permanent, Transient, Unauthorized, Unsupported
from manor.lcm.playbooks import run_playbook
from manor.lcm.ssh import KEY, SshGuest, forget
from manor.model.instance import PackageInfo, PackageKind
from manor.store import packages
from manor.store.database import Database

pytestmark = [pytest.mark.real, pytest.mark.slow]

NODE = "0a0b0c0d/vnf/web/main-0"


def keygen(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


@dataclass
class Sshd:
    """A server of our own."""

    place: Path
    port: int
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
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.place / 'host'}\nPidFile none\nUsePAM no\n"
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


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = tmp_path / "home"
    keygen(home / KEY)
    place = tmp_path / "sshd"
    place.mkdir()
    shutil.copy(f"{home / KEY}.pub", place / "authorized_keys")
    server = Sshd(place, port)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def guest(sshd: Sshd, tmp_path: Path) -> SshGuest:
    return SshGuest(uri=f"ssh://{getpass.getuser()}@127.0.0.1:{sshd.port}", key=NODE, home=tmp_path / "home")


def ctx(seconds: float = 60.0) -> CallContext:
    return CallContext.within(seconds)


def test_a_program_runs_with_its_words_as_they_are(guest: SshGuest) -> None:
    assert guest.ping(ctx())
    done = guest.run(["printf", "%s|", "a b", "$HOME", "it's; exit 9"], ctx())
    assert (done.exit_code, done.stdout) == (0, b"a b|$HOME|it's; exit 9|")
    done = guest.run(["/bin/sh", "-s"], ctx(), stdin=b"echo heard >&2; exit 3")
    assert (done.exit_code, done.stderr) == (3, b"heard\n")


def test_a_program_that_exits_as_ssh_does_when_it_fails_has_run(guest: SshGuest) -> None:
    done = guest.run(["/bin/sh", "-c", "echo Permission denied >&2; exit 255"], ctx())
    assert (done.exit_code, done.stderr) == (255, b"Permission denied\n")


def test_what_was_cut_off_may_have_happened(guest: SshGuest, tmp_path: Path) -> None:
    with pytest.raises(Indeterminate, match="ended before it said how"):
        guest.run(["/bin/sh", "-c", f"touch {tmp_path / 'done'}; kill -9 $PPID; sleep 20"], ctx())
    assert (tmp_path / "done").exists()


def test_another_machine_at_the_same_address_is_not_talked_to(guest: SshGuest, sshd: Sshd) -> None:
    assert guest.ping(ctx())
    sshd.start()
    with pytest.raises(Unauthorized, match="host key changed"):
        guest.ping(ctx())
    forget(guest.home, NODE)  # as when it is made anew
    assert guest.ping(ctx())


def test_who_does_not_know_the_key_says_what_to_do(guest: SshGuest, sshd: Sshd) -> None:
    (sshd.place / "authorized_keys").write_text("")
    with pytest.raises(Unauthorized) as refused:
        guest.ping(ctx())
    assert "id_manor.pub" in refused.value.hint
    (guest.home / KEY).unlink()
    with pytest.raises(Unauthorized) as missing:
        guest.ping(ctx())
    assert "ssh-keygen" in missing.value.hint


def test_silence_and_flood_end(guest: SshGuest, sshd: Sshd) -> None:
    with pytest.raises(DeadlineExceeded):
        guest.run(["sleep", "600"], ctx(10))
    with pytest.raises(Permanent, match="more than 1 MiB"):
        guest.run(["cat", "/dev/zero"], ctx())
    sshd.stop()
    with pytest.raises(Transient, match="does not answer"):
        guest.ping(ctx())


@pytest.mark.parametrize("user", ["-oProxyCommand=touch /tmp/x", "Root", "a b"])
def test_a_user_that_is_none_is_refused(guest: SshGuest, user: str) -> None:
    hostile = SshGuest(uri=f"ssh://{user}@127.0.0.1", key=NODE, home=guest.home)
    with pytest.raises(Permanent, match="no way in"):
        hostile.ping(ctx())


PYTHON = {"ansible_python_interpreter": "/usr/bin/python3"}
PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - name: leave a mark
      ansible.builtin.copy:
        dest: "{{ mark }}"
        content: "{{ manor_vnf }} {{ inventory_hostname }}"
        mode: "0600"
"""


class Store:
    """What a runtime knows of one package."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.store = Database.open(home / "manor.db")
        with self.store.begin() as tx:
            info = PackageInfo(id="p", kind=PackageKind.VNF, descriptor_id="vnfd", name="web", content_sha256="abc")
            packages.add(tx, info, descriptor={})

    def allow(self, *, allowed: bool) -> None:
        with self.store.begin() as tx:
            packages.allow_playbooks(tx, "abc", allowed=allowed)


def test_a_playbook_runs_only_where_its_package_was_allowed_to(guest: SshGuest, tmp_path: Path) -> None:
    rt = Store(tmp_path)
    vnfc = VnfcView(key=NODE, name="web-0", vdu_id="main", index=0)
    view = VnfView(id="x", name="web", service="shop", vnfd_id="vnfd", flavour_id="", vnfcs=(vnfc,))
    mark = tmp_path / "mark"
    script = Script(
        name="mark",
        kind="tosca.artifacts.Implementation.Ansible",
        content=PLAYBOOK,
        parameters={"mark": str(mark), **PYTHON},
    )
    guests = {NODE: guest}
    with pytest.raises(Unsupported, match="manor package allow web"):
        run_playbook(rt, view, guests, script, ctx())  # type: ignore[arg-type]
    assert not mark.exists()
    rt.allow(allowed=True)
    run_playbook(rt, view, guests, script, ctx(120))  # type: ignore[arg-type]
    assert mark.read_text() == "web web-0"
    assert list((tmp_path / "run" / "playbooks").iterdir()) == []
    wrong = replace(script, parameters={"mark": "/nonexistent/place", **PYTHON})
    with pytest.raises(Permanent, match="failed in task 'leave a mark' on web-0: Destination directory"):
        run_playbook(rt, view, guests, wrong, ctx(120))  # type: ignore[arg-type]
    rt.allow(allowed=False)
    with pytest.raises(Unsupported):
        run_playbook(rt, view, guests, script, ctx())  # type: ignore[arg-type]
    rt.store.close()
