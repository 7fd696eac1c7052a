"""What a person mistypes is refused in one line that names it and what there is, and nothing is half done."""

import json
from pathlib import Path

import pytest
from shell import Cli

from manor.fakes.world import FakeHost, World


def test_a_service_is_made_of_what_there_is_and_where_there_is_room(site: Cli) -> None:
    def refused(*args: str, code: int = 2) -> str:
        done = site(*args)
        assert done.code == code, done.err
        return done.err

    assert "no NS package or NSD is called 'nosuch'" in refused("ns", "create", "nosuch", "--name", "web")
    said = refused("ns", "create", "secure-web", "--name", "web", "--flavour", "nope")
    assert "NSD secure-web has no flavour nope\nhint: it has: default" in said
    assert "--param takes KEY=VALUE, not 'x'" in refused("ns", "create", "secure-web", "--name", "web", "--param", "x")
    site.good("package", "disable", "secure-web")
    assert "package secure-web is disabled" in refused("ns", "create", "secure-web", "--name", "web", code=3)
    assert site.good("--json", "ns", "list").json == []

    site.good("package", "enable", "secure-web")
    site.good("ns", "create", "secure-web", "--name", "web")
    said = refused("ns", "instantiate", "web", "--yes", "--place", "wbe=lab")
    assert "web has no VNF wbe to place\nhint: it has: client, firewall, monitor, web" in said
    assert "no vim named mars (registered: lab)" in refused("ns", "plan", "web", "--vim", "mars")
    assert "no vim named mars (registered: lab)" in refused("ns", "plan", "web", "--place", "web=mars/host-1")
    assert "--place web= says no place" in refused("ns", "plan", "web", "--place", "web=")
    assert "VNF:ASPECT=LEVEL, not 'web=2'" in refused("ns", "plan", "web", "--scale", "web=2")
    assert "has no VNF wbe" in refused("ns", "plan", "web", "--scale", "wbe:workers=2")
    site.good("ns", "plan", "web", "--vim", "lab", "--place", "web=lab/host-1")
    assert site.good("--json", "op", "list").json == []


def test_where_there_is_nothing_to_look_at_that_is_said(manor: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.yaml").write_text("a: 1\n")
    for path in ("empty", "notes.yaml"):
        done = manor("package", "validate", str(tmp_path / path))
        assert (done.code, f"no package or descriptor at {tmp_path / path}" in done.err) == (2, True)


def test_a_home_that_cannot_be_is_no_bug(manor: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MANOR_HOME", str(tmp_path / "file"))
    monkeypatch.delenv("MANOR_DB", raising=False)
    done = manor("vim", "add", "lab", "--driver", "fake")
    assert done.code == 1
    assert str(tmp_path / "file") in done.err.splitlines()[0]
    assert "bug" not in done.err


def test_alert_rules_are_json_too(manor: Cli) -> None:
    rules = json.loads(manor.good("--json", "metrics", "rules").out)
    assert rules["groups"][0]["name"] == "manor"


def test_a_host_that_does_not_answer_is_named_where_orphans_are_looked_for(manor: Cli) -> None:
    manor.good("vim", "add", "lab", "--driver", "fake", "-o", "hosts=[{name: a}, {name: b}]")
    assert 'hosts   [{"name": "a"}, {"name": "b"}]' in manor.good("vim", "show", "lab").out
    assert manor.good("--json", "vim", "orphans").json["silent"] == {}
    world = World(state_file=manor.home / "endpoints" / "vim-lab" / "world.json")
    with world.change() as state:
        state.hosts = (FakeHost(name="a"), FakeHost(name="b", reachable=False))
    looked = manor("vim", "orphans")
    assert looked.code == 6
    assert "warning: vim:lab on b could not be asked: it does not answer" in looked.err


def test_what_cannot_be_looked_at_is_not_called_well(site: Cli) -> None:
    site.good("ns", "create", "secure-web", "--name", "web")
    site.good("ns", "instantiate", "web", "--yes")
    world = World(state_file=site.home / "endpoints" / "vim-lab" / "world.json")
    with world.change() as state:
        state.hosts = tuple(FakeHost(name=host.name, reachable=False) for host in state.hosts)
    healed = site("ns", "heal", "web", "--yes")
    assert (healed.code, "as wanted" in healed.out) == (6, False)
    assert "warning: not all of web could be looked at: vim:lab on host-1 does not answer" in healed.err
    assert site("--json", "ns", "heal", "web", "--yes").json["unseen"]


def test_what_is_no_value_is_refused_before_anything_is_done(site: Cli) -> None:
    def refused(*args: str) -> str:
        done = site(*args)
        assert done.code == 2, (args, done.out, done.err)
        return done.err

    assert "not UTF-8: 'Stra\\udcdfe'" in refused(
        "ns", "create", "secure-web", "--name", "web", "--description", "Stra\udcdfe"
    )
    said = refused("ns", "show", "n" * 100_000)
    assert said.startswith("error: no service is called 'nnn")
    assert len(said) < 3000
    assert "no path" in refused("package", "onboard", "")
    assert "no path" in refused("--home", "", "ns", "list")
    for number in ("nan", "inf", "1e400"):
        assert f"'{number}' is not a number" in refused("ns", "terminate", "web", "--timeout", number)
    for digits in (25, 400):
        assert "is not a number that there can be" in refused("ns", "list", "--limit", "9" * digits)
    for name in ("-web", ".", "..", "_"):
        assert f"a service cannot be called '{name}'" in refused("ns", "create", f"--name={name}", "--", "secure-web")
    assert site.good("--json", "ns", "list").json == []


@pytest.mark.slow
def test_a_file_that_is_asked_for_is_written_whatever_the_form(site: Cli, tmp_path: Path) -> None:
    site.good("ns", "create", "secure-web", "--name", "web")
    site.good("ns", "instantiate", "web", "--yes")
    for command in (("ns", "topology", "web"), ("op", "timeline", "web"), ("chain", "show", "web")):
        for form in ("svg", "json"):
            file = tmp_path / f"{command[1]}.{form}"
            told = site.good("--json", *command, "--format", form, "--output", str(file)).json
            assert told == {"written": str(file)}
            assert file.read_text().startswith("<svg" if form == "svg" else "{")
    assert "a table is not written to a file" in site("chain", "show", "web", "--output", str(tmp_path / "x")).err
    for what in ("ports", "flows"):
        done = site("sdn", what, "net", "--host", "hots-1")
        assert (done.code, "controller net has no switch on hots-1\nhint: it has: host-1" in done.err) == (2, True)
