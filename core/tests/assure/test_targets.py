"""The file that a Prometheus finds its targets in follows the services."""

import json
from pathlib import Path

from assured_site import Site

from manor.assure.targets import write_targets


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
