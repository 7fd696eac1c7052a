"""The database is copied while it is in use, and restored into an empty home, where its services are operated on."""

import shutil
from pathlib import Path

import pytest
from shell import Cli


@pytest.mark.slow
@pytest.mark.sqlite
def test_a_backup_restored_into_an_empty_home_is_operated_on(
    site: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.good("ns", "create", "secure-web", "--name", "web")
    site.good("ns", "instantiate", "web", "--yes")
    copy = tmp_path / "copy.db"
    site.good("db", "backup", str(copy))
    assert copy.stat().st_mode & 0o077 == 0
    assert site("db", "backup", str(copy)).code == 2
    refused = site("db", "restore", str(copy))
    assert refused.code != 0
    assert "is there already" in refused.err

    new = tmp_path / "new"
    shutil.copytree(site.home / "endpoints", new / "endpoints")  # the hosts are as they were
    monkeypatch.setenv("MANOR_HOME", str(new))
    done = site.good("--json", "db", "restore", str(copy))
    assert len(done.json["packages_without_files"]) == 5
    assert "files of package" in done.err
    lacking = site("ns", "scale", "web", "--vnf", "client=+1", "--yes")
    assert lacking.code != 0
    assert "not here" in lacking.err
    assert "manor package onboard" in lacking.err
    shutil.copytree(site.home / "packages", new / "packages")
    shutil.rmtree(site.home)
    assert site.good("--json", "ns", "drift", "web").json["drift"] is False
    site.good("vnf", "heal", "web/web", "--yes")
    site.good("ns", "terminate", "web", "--yes")
    assert site.good("--json", "vim", "orphans").json == {"orphans": [], "silent": {}}


@pytest.mark.slow
def test_a_package_on_boarded_again_brings_its_files_back(site: Cli, packages: Path) -> None:
    before = site.good("--json", "package", "list").json
    shutil.rmtree(site.home / "packages")
    site.good("package", "onboard", str(packages))
    assert site.good("--json", "package", "list").json == before
    site.good("ns", "create", "secure-web", "--name", "web")
    site.good("ns", "instantiate", "web", "--yes")
