"""Day 1 and day 2 of machines without an agent, as an operator has them: an operation that goes in by SSH, with a real
server behind the machine's address, and a playbook where it is allowed."""

import getpass
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ssh_package import NETWORK, write_packages
from sshd import Sshd, keygen, network_of_our_own

from manor.cli import main
from manor.lcm.ssh import KEY

pytestmark = [pytest.mark.real, pytest.mark.slow]

SECRET = 'correct "horse"  battery'
"""With what others quote or fold."""
PLAYBOOK = """
- hosts: all
  gather_facts: false
  vars:
    ansible_python_interpreter: /usr/bin/python3
  tasks:
    - name: leave a mark
      ansible.builtin.copy:
        dest: "{{ mark }}"
        content: "{{ manor_vnf }} {{ inventory_hostname }}"
        mode: "0600"
"""
TELLING = PLAYBOOK.replace(
    "  tasks:\n", "  tasks:\n    - name: say it\n      ansible.builtin.fail:\n        msg: 'no {{ password }} here'\n"
)
NOBODY = PLAYBOOK.replace("hosts: all", "hosts: webservers")


@dataclass
class Operator:
    """Who has the command line, a home, and the machine's inside before them."""

    home: Path
    capture: Callable[[], Any]

    def manor(self, *args: str, expect: int = 0) -> str:
        """Run a command; all it said."""
        self.capture()
        code = main(args)
        said = self.capture()
        assert code == expect, said
        assert "Traceback" not in said.err
        return str(said.out + said.err)

    def asked(self, *args: str) -> Any:
        """What a command answers, as JSON."""
        self.capture()
        assert main(["--json", *args]) == 0
        return json.loads(self.capture().out)

    @property
    def inside(self) -> Path:
        """Where the machine's programs leave what they do."""
        return self.home.parent / "inside"

    def mark(self, name: str) -> str:
        """What one of them left there; empty where it did not."""
        path = self.inside / name
        return path.read_text() if path.exists() else ""

    def told(self, word: str) -> list[str]:
        """Files of the home that hold this."""
        return [str(path) for path in self.home.rglob("*") if path.is_file() and word.encode() in path.read_bytes()]


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """What answers at every address that a machine may have."""
    place = tmp_path_factory.mktemp("sshd")
    keygen(place / KEY)
    with network_of_our_own(NETWORK):
        server = Sshd(place, port=22, address="0.0.0.0")
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
def operator(
    sshd: Sshd, fast_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Operator:
    monkeypatch.setenv("MANOR_HOME", str(fast_path / "home"))
    monkeypatch.delenv("MANOR_DB", raising=False)
    made = Operator(fast_path / "home", capsys.readouterr)
    made.inside.mkdir()
    shutil.copytree((sshd.place / KEY).parent, (made.home / KEY).parent)
    shutil.copy(sshd.place / f"{KEY}.pub", sshd.place / "authorized_keys")
    mark = str(made.inside)
    write_packages(
        fast_path / "packages",
        user=getpass.getuser(),
        day1=f"mkdir -p {mark}/first\ncp /proc/self/cmdline {mark}/day1",
        scripts={
            "greet.sh": f'printf %s "$text" > {mark}/greet',
            "rotate.sh": f'printf %s "$password" > {mark}/rotate',
            "refuse.sh": 'echo "no $password here" >&2; exit 3',
            "instantiate_end.yaml": PLAYBOOK,
            "play.yaml": PLAYBOOK,
            "tell.yaml": TELLING,
            "nobody.yaml": NOBODY,
        },
        inputs={
            "greet": {"text": "hello"},
            "rotate": {"password": ""},
            "refuse": {"password": ""},
            "instantiate_end": {"mark": f"{mark}/playbook"},
            "play": {"mark": f"{mark}/again"},
            "tell": {"mark": f"{mark}/never", "password": ""},
            "nobody": {"mark": f"{mark}/never"},
        },
    )
    packages = [str(fast_path / "packages" / name) for name in ("box", "ns")]
    made.manor("package", "onboard", *packages)
    made.manor("vim", "add", "lab", "--driver", "fake")
    made.manor("sdn", "add", "net", "--driver", "fake")
    made.manor("ns", "create", "boxes", "--name", "shop")
    return made


@pytest.fixture
def secret(fast_path: Path) -> str:
    """A secret's file."""
    file = fast_path / "password"
    file.write_text(SECRET)
    file.chmod(0o600)
    return f"password={file}"


def test_it_is_configured_before_it_is_completed_and_acted_on_after(operator: Operator, secret: str) -> None:
    done = operator.manor("ns", "instantiate", "shop", "--yes")
    assert "INSTANTIATE shop COMPLETED" in done
    assert operator.mark("day1").startswith("cp\0")
    assert not operator.mark("playbook"), "nobody allowed it"
    assert "instantiate_end is not run" in done
    operator.manor("vnf", "action", "shop/box", "greet", "--param", "text=it's; $HOME", "--yes")
    assert operator.mark("greet") == "it's; $HOME"
    operator.manor("vnf", "action", "shop/box", "rotate", "--secret", secret, "--yes")
    assert operator.mark("rotate") == SECRET
    said = operator.manor("vnf", "action", "shop/box", "refuse", "--secret", secret, "--yes", expect=5)
    assert "refuse exited 3: no *** here" in said
    assert operator.asked("ns", "drift", "shop")["drift"] is False
    assert operator.told("horse") == []


def test_a_playbook_is_played_where_the_operator_allowed_its_package(
    operator: Operator, sshd: Sshd, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An operator's own ways with Ansible do not weaken Manor's.
    monkeypatch.setenv("ANSIBLE_SSH_ARGS", "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null")
    refused = operator.manor("ns", "plan", "shop")
    assert "instantiate_end is not run: playbooks run on this host; if you trust it: manor package allow Box" in refused
    operator.manor("package", "allow", "Box")
    operator.manor("ns", "instantiate", "shop", "--yes")
    assert operator.mark("playbook") == "box box-main-0"

    said = operator.manor("vnf", "action", "shop/box", "tell", "--secret", secret, "--yes", expect=5)
    assert "box: tell failed in task 'say it' on box-main-0: no *** here" in said
    assert "of driver generic on host-1" in said
    assert operator.told("horse") == []
    assert list((operator.home / "run").glob("playbooks/*")) == [], "nor is its place kept where it is empty"

    said = operator.manor("vnf", "action", "shop/box", "nobody", "--yes", expect=5)
    assert "box: nobody played on no machine" in said

    sshd.start()
    said = operator.manor("vnf", "action", "shop/box", "play", "--yes", expect=5)
    assert "main-0 is not the machine it was: its host key changed" in said
    assert operator.mark("again") == ""

    operator.manor("package", "allow", "Box", "--revoke")
    refused = operator.manor("vnf", "action", "shop/box", "play", "--yes", expect=4)
    assert "box: action play cannot be run: playbooks run on this host" in refused
    assert "manor package allow Box" in refused


def test_who_may_not_log_in_is_told_so_and_nothing_is_left(operator: Operator, sshd: Sshd) -> None:
    (sshd.place / "authorized_keys").write_text("")
    said = operator.manor("ns", "instantiate", "shop", "--yes", expect=5)
    assert "INSTANTIATE shop failed and was rolled back: configure vnf" in said
    assert "/vnf/box/main-0: " in said
    assert "Permission denied" in said
    assert "(Unauthorized of driver generic on host-1)" in said
    assert "id_manor.pub: put it into boot data" in said
    assert not list(operator.inside.iterdir())
    assert operator.asked("vim", "orphans") == {"orphans": [], "silent": {}}
    assert operator.asked("ns", "show", "shop")["ns"]["state"] == "NOT_INSTANTIATED"


def test_another_machine_at_its_address_is_not_acted_on_and_a_new_one_is(operator: Operator, sshd: Sshd) -> None:
    operator.manor("ns", "instantiate", "shop", "--yes")
    sshd.start()
    said = operator.manor("vnf", "action", "shop/box", "greet", "--yes", expect=5)
    assert "main-0 is not the machine it was: its host key changed" in said
    assert "action/greet" in said
    assert operator.mark("greet") == ""
    assert operator.asked("ns", "drift", "shop")["drift"] is False
    operator.manor("vnf", "heal", "shop/box", "--yes")
    operator.manor("vnf", "action", "shop/box", "greet", "--yes")
    assert operator.mark("greet") == "hello"
    operator.manor("ns", "terminate", "shop", "--yes")
    assert not list((operator.home / "ssh/known").iterdir())
