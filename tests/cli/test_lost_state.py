"""What of a home is lost, damaged or not meant is told by name with the remedy, and nothing is made over it."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from shell import COMMAND, Cli
from sqlalchemy import text

from manor.fakes import Action, Fault, World
from manor.store.database import Database
from manor.store.history import History


@pytest.mark.sqlite
def test_a_home_that_was_used_gets_no_new_database_by_itself(site: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MANOR_DB", raising=False)  # as who forgot to set it
    database = site.home / "manor.db"
    for path in site.home.glob("manor.db*"):
        path.unlink()
    for command in (("ns", "list"), ("ns", "show", "web"), ("vim", "add", "lab2", "--driver", "fake")):
        done = site(*command)
        assert done.code == 8, done.out + done.err
        assert f"there is no database at {database}, and its home was in use" in done.err
        assert "MANOR_DB" in done.err
        assert "manor db restore" in done.err
        assert not database.exists()
    for fix in ((), ("--fix",)):
        doctor = site("doctor", "--only", "database", *fix)
        assert (doctor.code, "its home was in use" in doctor.out) == (1, True)
        assert not database.exists()

    database.touch()  # cut off, or made by something else
    assert "its home was in use" in site("ns", "show", "web").err
    database.unlink()
    site.good("db", "upgrade")  # the operator's word that it shall be a new one
    assert site.good("--json", "ns", "list").json == []


def test_doctor_names_what_of_the_home_cannot_be_read(site: Cli) -> None:
    def doctor(check: str) -> tuple[int, str]:
        done = site("doctor", "--only", check)
        return done.code, done.out

    for check in ("settings", "packages", "history", "endpoints"):
        assert doctor(check)[0] == 0, doctor(check)

    for name in ("assurance.yaml", "sites.yaml", "placement.yaml"):
        (site.home / name).write_text("a: [1\n")
        code, said = doctor("settings")
        assert (code, f"{site.home / name}:2" in said) == (1, True), said
        (site.home / name).unlink()

    (site.home / "history.db").write_text("no database, but long enough to be taken for one " * 9)
    code, said = doctor("history")
    assert (code, f"hint: move {site.home / 'history.db'} away" in said) == (1, True), said

    world = site.home / "endpoints" / "vim-lab" / "world.json"
    world.write_text("")
    code, said = doctor("endpoints")
    assert (code, "vim lab does not answer" in said) == (1, True), said

    blob = next((site.home / "packages").glob("??/*"))
    for spoil in (lambda: blob.write_bytes(b""), blob.unlink, lambda: shutil.rmtree(site.home / "packages")):
        spoil()
        code, said = doctor("packages")
        assert (code, "manor package onboard PATH" in said) == (1, True), said


@pytest.mark.sqlite
def test_a_damaged_database_is_found_and_what_to_do_is_said(manor: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MANOR_DB", raising=False)
    manor.good("vim", "add", "lab", "--driver", "fake")
    path = manor.home / "manor.db"
    content = bytearray(path.read_bytes())
    page = int.from_bytes(content[16:18], "big")
    content[-4 * page :] = b"\xa5" * (4 * page)
    path.write_bytes(content)
    done = manor("doctor", "--only", "database")
    assert done.code == 1
    assert f"hint: move {path} away" in done.out
    assert "then manor db restore FILE" in done.out


@pytest.mark.sqlite
@pytest.mark.real
def test_a_full_disk_is_called_one(manor: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MANOR_DB", raising=False)
    manor.home.mkdir()
    full = (
        'mount -t tmpfs -o size=2m tmpfs "$0" && "$@" vim add lab --driver fake >/dev/null &&'
        ' { dd if=/dev/zero of="$0/fill" bs=4k 2>/dev/null; "$@" ns list; }'
    )
    command = ["unshare", "--mount", "sh", "-c", full, str(manor.home), sys.executable, "-c", COMMAND]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 8, done.stderr
    assert f"(no space is left in {manor.home})\nhint: free some space there" in done.stderr


@pytest.mark.sqlite
def test_on_boarding_may_be_the_first_command_of_a_home(
    manor: Cli, packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MANOR_DB", raising=False)
    manor.good("package", "onboard", str(packages))
    assert len(manor.good("--json", "package", "list").json) == 5
    assert manor.home.stat().st_mode & 0o077 == 0


@pytest.mark.sqlite
def test_doctor_looks_and_makes_nothing(site: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(site.home / "endpoints" / "sdn-net")  # made where a controller is connected to, which starts an agent
    site.good("doctor", "--only", "endpoints")
    assert not (site.home / "endpoints" / "sdn-net").exists()

    empty = site.home / "empty" / "manor.db"
    empty.parent.mkdir()
    monkeypatch.setenv("MANOR_DB", str(empty))
    for make in (empty.touch, lambda: tables_of(empty)):
        make()
        before = empty.stat().st_size
        for check in ("database", "packages", "endpoints"):
            site("doctor", "--only", check)
        assert (empty.stat().st_size, tables_of(empty)) == (before, [])
        empty.unlink()


def tables_of(path: Path) -> list[str]:
    """Makes it a database without any where it is none yet."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        return [name for (name,) in database.execute("SELECT name FROM sqlite_master")]


@pytest.mark.sqlite
def test_a_database_without_tables_is_a_lost_one_too(site: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MANOR_DB", raising=False)
    for path in site.home.glob("manor.db*"):
        path.unlink()
    database = site.home / "manor.db"
    assert tables_of(database) == []
    assert "its home was in use" in site("vim", "add", "lab2", "--driver", "fake").err
    for fix in ((), ("--fix",)):
        assert "its home was in use" in site("doctor", "--only", "database", *fix).out
    assert tables_of(database) == []


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Another process, by its id, has locked the file for itself."""
    hold = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        " c.execute('PRAGMA locking_mode=EXCLUSIVE'); c.execute('BEGIN EXCLUSIVE'); print(flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-c", hold, str(path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"\n"
        yield other.pid
        other.communicate()


@pytest.mark.sqlite
def test_only_a_damaged_database_is_to_be_moved_away(manor: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MANOR_DB", raising=False)
    monkeypatch.setattr("manor.store.database.BUSY_TIMEOUT_S", 0.01)
    monkeypatch.setattr("manor.store.history._BUSY_S", 0.01)
    manor.good("vim", "add", "lab", "--driver", "fake")
    History.open(manor.home / "history.db").close()
    for check, name in (("database", "manor.db"), ("history", "history.db")):
        path = manor.home / name
        with locked(path) as other:
            done = manor("doctor", "--only", check)
            assert (done.code, f"is locked by process {other} (python" in done.out) == (1, True), done.out
            assert "hint: wait until it is done, or end it" in done.out
            assert "move" not in done.out
        path.write_text("no database, but long enough to be taken for one " * 99)
        for log in manor.home.glob(f"{name}-*"):
            log.unlink()
        assert f"{path} away" in manor("doctor", "--only", check).out


def test_an_endpoint_whose_settings_no_longer_fit_hides_no_other(site: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    site.good("vim", "add", "other", "--driver", "fake", "-o", "hosts=[{name: host-2}]")
    for name in ("lab", "net"):  # as an older release of the plugin took it
        with Database.open(os.environ.get("MANOR_DB") or site.home / "manor.db") as database, database.begin() as tx:
            tx.execute(text("UPDATE manor_endpoint SET config = '{\"hosts\": 7}' WHERE name = :name"), {"name": name})
    said = site("doctor", "--only", "endpoints").out
    assert "vim lab does not answer: fake: hosts" in said
    assert "other" not in said
    checked = site("vim", "check")
    assert checked.code == 6
    assert "lab (fake) does not answer" in checked.out
    assert "other (fake) answers" in checked.out
    assert site("sdn", "check").code == 6


@pytest.mark.slow
def test_doctor_waits_for_no_vim_beyond_its_own_time(site: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = {"hung": Fault(action=Action.HANG, verb="capabilities", times=0)}
    faults["deaf"] = Fault(action=Action.DELAY, verb="capabilities", seconds=60.0, times=0)  # whatever it is told
    for name in faults:
        site.good("vim", "add", name, "--driver", "fake", "-o", f"hosts=[{{name: host-{name}}}]")
    for name, fault in faults.items():
        World(state_file=site.home / "endpoints" / f"vim-{name}" / "world.json").inject(fault)
    monkeypatch.setattr("manor.cli.doctor._CHECK_S", 4.0)  # enough for who answers, also on a busy machine
    began_s = time.monotonic()
    done = site("doctor", "--only", "endpoints")
    assert time.monotonic() - began_s < 40.0
    assert done.code == 1
    assert re.search("vim hung does not answer: .*no answer in time", done.out)
    assert "vim deaf has not answered in time\n      hint: manor vim check deaf" in done.out
    assert "vim lab" not in done.out
