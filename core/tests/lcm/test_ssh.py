"""Inside by SSH: a real sshd on loopback, the same code as for a machine."""

import getpass
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from sshd import Sshd, keygen

from manor.api import CallContext, Script, VnfcView, VnfView
from manor.errors import DeadlineExceeded, DriverError, Indeterminate, Permanent, Transient, Unauthorized, Unsupported
from manor.lcm import playbooks
from manor.lcm.playbooks import run_playbook
from manor.lcm.runtime import open_runtime
from manor.lcm.ssh import KEY, SshGuest, forget
from manor.model.instance import PackageInfo, PackageKind
from manor.store import packages
from manor.testing.ports import free_port

pytestmark = [pytest.mark.real, pytest.mark.slow]

NODE = "0a0b0c0d/vnf/web/main-0"


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    home = tmp_path / "home"
    keygen(home / KEY)
    place = tmp_path / "sshd"
    place.mkdir()
    shutil.copy(f"{home / KEY}.pub", place / "authorized_keys")
    server = Sshd(place, free_port())
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


def test_the_way_to_a_key_that_is_told_leads_there_in_a_fresh_home(tmp_path: Path) -> None:
    guest = SshGuest(uri="ssh://root@192.0.2.1", key=NODE, home=tmp_path)
    with pytest.raises(Unauthorized) as missing:
        guest.ping(ctx())
    subprocess.run(shlex.split(missing.value.hint), check=True, capture_output=True)
    assert (tmp_path / KEY).is_file()
    assert (tmp_path / "ssh").stat().st_mode & 0o777 == 0o700


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


def test_a_playbook_that_was_allowed_when_it_was_planned_is_not_played_after(guest: SshGuest, tmp_path: Path) -> None:
    vnfc = VnfcView(key=NODE, name="web-0", vdu_id="main", index=0)
    view = VnfView(id="x", name="web", service="shop", vnfd_id="vnfd", flavour_id="", vnfcs=(vnfc,))
    script = Script(name="mark", kind=".yaml", content="- hosts: all")
    info = PackageInfo(id="p", kind=PackageKind.VNF, descriptor_id="vnfd", name="web", content_sha256="abc")
    with open_runtime(tmp_path / "home") as rt:
        with rt.store.begin() as tx:
            packages.add(tx, info, descriptor={})
        with pytest.raises(Unsupported, match="manor package allow web"):
            run_playbook(rt, view, {NODE: guest}, script, ctx())


@pytest.mark.parametrize(("begun", "error"), [(False, Transient), (True, Permanent)])
def test_a_playbook_that_had_an_effect_is_not_played_again_by_itself(
    tmp_path: Path, begun: bool, error: type[DriverError]
) -> None:
    ran = [{"event": "runner_on_ok", "event_data": {"task": "one", "host": "main-0"}}] if begun else []
    lost = {
        "event": "runner_on_unreachable",
        "event_data": {"task": "two", "host": "main-0", "res": {"msg": "Connection timed out"}},
    }
    done = SimpleNamespace(events=[*ran, lost], status="failed")
    guests = {"main-0": SshGuest(uri="ssh://root@192.0.2.1", key="s/vnf/web/main-0", home=tmp_path)}
    told = playbooks._failure(done, "web: setup", guests)
    assert type(told) is error
    assert "Connection timed out" in told.message
