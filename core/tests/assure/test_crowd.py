"""A crowd before the demo service as it is shipped: its monitor grows as its VNFD says, and nothing is healed."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import secure_web
from assured_site import Site, unguarded

from manor.api import GuestResult, HealAction, OperationKind
from manor.catalog.onboard import onboard
from manor.lcm import work
from manor.lcm.runtime import Runtime
from manor.model.alarm import Outcome
from manor.model.instance import NsLcmOpOcc, OperationState
from manor.store import reading

Make = Callable[..., Site]
DESCRIPTORS = Path(__file__).parents[3] / "descriptors"
GUEST_S = 4.0


@pytest.fixture
def as_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service's own packages around images of a few bytes, in place of the model of them."""
    monkeypatch.syspath_prepend(str(DESCRIPTORS))
    from csar import pack
    from images.vnf import BuiltFile, VnfImage

    def built(name: str) -> BuiltFile:
        path = tmp_path / name
        path.write_bytes(name.encode())
        return BuiltFile(path=str(path), sha256=hashlib.sha256(name.encode()).hexdigest(), size_bytes=len(name))

    image = VnfImage(recipe="", packages=(), kernel=built("vmlinuz"), initramfs=built("initramfs"))

    def packages(rt: Runtime) -> None:
        archives = [tmp_path / f"{name}.csar" for name in ("client", "firewall", "monitor", "web", "nsd")]
        for archive in archives:
            pack(DESCRIPTORS / "secure-web" / archive.stem, image, archive)
        onboard(rt, archives)

    monkeypatch.setattr(secure_web, "onboard", packages)


class Crowd:
    """Connections a second that the monitors share, counted by each."""

    def __init__(self, site: Site) -> None:
        self.site, self.rate = site, 0.0
        self.counted: dict[str, float] = {}
        unguarded(site.rt.vim("lab"))._guest_script = self.said

    def monitors(self) -> list[str]:
        """Machines of the monitor."""
        return sorted(o.ref.key for o in self.site.seen() if "/monitor/" in o.ref.key and o.ref.kind == "node")

    def said(self, key: str, argv: Sequence[str], _stdin: bytes) -> GuestResult:
        """What a guest answers."""
        there = argv[0] == "connections-opened" and "/monitor/" in key
        page = f"# TYPE connections_total counter\nconnections_total {self.counted.get(key, 0.0):.0f}\n"
        return GuestResult(exit_code=0 if there else 127, stdout=page.encode() if there else b"", stderr=b"")

    def comes(self, rate: float, *, rounds: int) -> None:
        """Let so many come for so many rounds."""
        for _ in range(rounds):
            there = self.monitors()
            for key in there:
                self.counted[key] = self.counted.get(key, 0.0) + rate * GUEST_S / len(there)
                self.site.world.metrics[key] = {"v_cpu_usage_mean": 10.0}
            self.site.rounds(1, step_s=GUEST_S, measure=True)
            self.site.assurance._measuring.guests.wait(60)


def operations(site: Site) -> list[NsLcmOpOcc]:
    """What was done since the service was instantiated, each at its end."""
    page = reading.operations(site.rt.url, ns_id=site.service.id)
    return [work.follow(site.rt, op.id) for op in reversed(page.items) if op.operation is not OperationKind.INSTANTIATE]


@pytest.mark.slow
def test_a_crowd_scales_the_monitor_out_within_its_limits_and_heals_nothing(as_shipped: None, make_site: Make) -> None:
    site = make_site(degraded_s=3 * GUEST_S, guest_s=GUEST_S, cool_down_s=0)
    crowd = Crowd(site)
    crowd.comes(4.0, rounds=4)
    assert (site.alarms(), operations(site)) == ([], []), "a usual day"
    crowd.comes(16.0, rounds=3)
    assert operations(site) == [], "a moment is no crowd"

    crowd.comes(16.0, rounds=4)
    (grown,) = operations(site)
    assert (grown.operation, grown.state, grown.is_automatic) == (OperationKind.SCALE, OperationState.COMPLETED, True)
    assert len(crowd.monitors()) == 2
    crowd.comes(16.0, rounds=6)
    (alarm,) = site.all()
    assert alarm.probable_cause == "indicator crowd"
    assert not alarm.is_active, "two of them are enough for that many"
    ruling, held = site.rulings(alarm)
    assert (ruling.action, ruling.outcome, ruling.helped) == (HealAction.SCALE_OUT, Outcome.STARTED, True)
    assert (held.outcome, "watched whether the last scale-out helps" in held.reason) == (Outcome.HELD, True)

    crowd.comes(60.0, rounds=8)
    assert len(crowd.monitors()) == 2, "no more than the VNFD allows"
    said = [ruling for one in site.alarms() for ruling in site.rulings(one)]
    assert {ruling.outcome for ruling in said} == {Outcome.FAILED}
    assert "level 2 is outside 0 to 1" in said[0].reason
    assert operations(site) == [grown], "and nothing is healed"
