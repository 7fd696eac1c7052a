"""The smallest service on a real hypervisor, as the tutorial has it, and with PostgreSQL for its database."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manor.testing.postgresql import new_database, private_postgresql

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture(scope="module")
def db() -> Iterator[str]:
    with private_postgresql() as server:
        yield new_database(server)


def test_from_package_to_machine_through_drift_and_back_to_nothing(site: Any, packages: Path, tmp_path: Path) -> None:
    site.manor("package", "onboard", *map(str, sorted((packages / "hello-vm").glob("*.csar"))))
    greeting = tmp_path / "greeting"
    greeting.write_text("Psst")
    greeting.chmod(0o600)
    site.manor("ns", "create", "hello-vm", "--name", "hello", "--secret", f"greeting={greeting}")
    plan = tmp_path / "plan.json"
    site.manor("ns", "plan", "hello", "--save", str(plan))
    site.manor("ns", "instantiate", "hello", "--plan", str(plan))
    (vnf,) = site.ask("ns", "topology", "hello")["vnfs"]
    (machine,) = vnf["vnfcs"]
    assert machine["state"] == "active"
    said = site.inside(f"hello/{vnf['name']}", "hostname")
    assert said.stdout.strip() == f"hello-{machine['name']}"
    assert "READY" in site.manor("vnf", "console", f"hello/{vnf['name']}", "--log")

    picture = site.manor("ns", "topology", "hello", "--format", "svg")
    assert picture.lstrip().startswith(("<?xml", "<svg"))

    # A secret is in the machine, and nowhere in what Manor keeps.
    assert site.inside(f"hello/{vnf['name']}", "cat", "/www/index.html").stdout.startswith("Psst from hello")
    assert not [path for path in site.home.rglob("*") if path.is_file() and b"Psst" in path.read_bytes()]
    kept = subprocess.run(["pg_dump", "--data-only", "--dbname", site.db], check=True, capture_output=True).stdout
    assert b"@secret:" in kept
    assert b"Psst" not in kept

    # The database is copied while it is in use, and nothing is put over it.
    site.manor("db", "backup", str(tmp_path / "copy.db"))
    site.manor("db", "restore", str(tmp_path / "copy.db"), expect=8)

    # Day 2: what the package offers is done inside, and proven inside.
    assert "greet" in site.manor("vnf", "action", f"hello/{vnf['name']}")
    site.manor("vnf", "action", f"hello/{vnf['name']}", "greet", "--param", "text=it's; me", "--yes")
    assert site.inside(f"hello/{vnf['name']}", "cat", "/www/index.html").stdout == "it's; me\n"

    # A lifecycle script runs at its event, though no step touches the machine.
    site.manor("vnf", "modify", f"hello/{vnf['name']}", "--name", "front", "--yes")
    changed = "What is said of me has changed.\n"
    assert site.inside(f"hello/{vnf['name']}", "cat", "/www/index.html").stdout == changed

    # Killed behind our back, it shows as drift and comes back under the same name and address.
    (domain,) = site.domains()
    site.lab.run("virsh", "destroy", domain)
    assert "hello" in site.manor("ns", "drift", "hello", expect=1)
    site.manor("ns", "drift", "hello", "--repair", "--yes")
    site.manor("ns", "drift", "hello")
    assert site.domains() == [domain]

    # What was approved for one world is not done in another.
    site.manor("ns", "instantiate", "hello", "--plan", str(plan), expect=2)

    site.manor("ns", "terminate", "hello", "--yes")
    site.manor("ns", "delete", "hello")
    for package in sorted(site.ask("package", "list"), key=lambda p: p["kind"] != "ns"):
        site.manor("package", "delete", package["id"])
    assert site.leftovers() == {}
