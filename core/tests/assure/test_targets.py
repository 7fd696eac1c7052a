"""The file that a Prometheus finds its targets in follows the services."""

import json
from pathlib import Path

from assured_site import Site

from manor.api import NodeSpec, Port
from manor.assure.sight import Declared, Service
from manor.assure.targets import target_groups, write_targets
from manor.model.desired import DesiredResource, DesiredState


def test_the_targets_of_a_prometheus_are_kept_fresh(make_site: object, tmp_path: Path) -> None:
    file = tmp_path / "targets.json"
    assert callable(make_site)
    site: Site = make_site(targets={"file": str(file), "listen": "192.0.2.1:9740", "exporter": 9100})
    site.rounds(2, measure=True)
    manor, *vnfcs = json.loads(file.read_text())
    assert manor == {"targets": ["192.0.2.1:9740"], "labels": {"job": "manor"}}
    assert {group["labels"]["vnf"] for group in vnfcs} == {"client", "web"}, "who has an address"
    assert file.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.glob(".targets*")] == []
    assert not write_targets(file, [manor, *vnfcs]), "written where it changes, and not every second"

    site.settings(detector="", targets={"file": str(tmp_path / "gone" / "t.json")})
    site.rounds(2, measure=True)
    assert site.assurance._measuring.rows is not None, "a file that cannot be written stops nothing"


def test_a_machine_is_asked_where_it_is_managed_and_else_at_its_first_address() -> None:
    ports = tuple(
        Port(key=f"s/vnf/fw/m-0/{name}", network="n", device=name, mac="", addresses=addresses, name=name)
        for name, addresses in (("in", ()), ("out", ("10.0.0.5/24",)), ("oam", ("fd00::5/64", "10.30.0.5/24")))
    )
    spec = NodeSpec(key="s/vnf/fw/m-0", owner="manor/t", host="h1", name="m", vcpus=1, memory_bytes=1, ports=ports)
    desired = DesiredState(
        service_id="s", service_name="shop", resources=(DesiredResource(endpoint="vim:lab", spec=spec),)
    )

    def target(management: str) -> str:
        said = {"s/vnf/fw": Declared(management=frozenset({management}))}
        service = Service(id="s", name="shop", nsd_id="n", desired=desired, declared=said)
        _, group = target_groups([service], "192.0.2.1:9740", 9100)
        return str(group["targets"][0])

    assert target("oam") == "[fd00::5]:9100"
    assert target("in") == target("") == "10.0.0.5:9100", "one for management that has no address is none"
