"""What driving does beside the verb: host keys that go with their machine, gates of machines without an agent."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from manor.api import CallContext, Disk, DiskFormat, Health, ImageSpec, NodeSpec, Step, Undo, Verb, spec_to_json
from manor.errors import DeadlineExceeded, Indeterminate, Permanent
from manor.lcm.driving import Driving
from manor.lcm.executor import inverse
from manor.lcm.gating import stand
from manor.lcm.ssh import _known

KEY = "0a0b0c0d/vnf/web/main-0"


def test_a_machine_that_a_rollback_makes_anew_may_have_another_host_key(tmp_path: Path) -> None:
    known = _known(tmp_path, KEY)
    known.parent.mkdir(parents=True)
    known.write_text("the old one")
    node = NodeSpec(key=KEY, owner="manor/test", host="h", name="web", vcpus=1, memory_bytes=1 << 20)
    removal = Step(
        id=f"remove node {KEY}",
        verb=Verb.REMOVE,
        kind="node",
        key=KEY,
        endpoint="vim:lab",
        change="remove",
        before=spec_to_json(node),
        undo=Undo.RESTORE,
    )
    back = inverse(removal)
    assert back is not None
    made: list[Any] = []
    vim = SimpleNamespace(ensure=lambda spec, _ctx: made.append(spec))
    rt: Any = SimpleNamespace(home=tmp_path, driver=lambda _endpoint: vim)
    Driving(rt=rt).perform(back, CallContext.within(5))
    assert made == [node]
    assert not known.exists()


@pytest.mark.parametrize(
    ("in_memory", "detail", "is_held"),
    [(False, {}, True), (True, {"unplugged": ["tap0"]}, True), (True, {"reason": "off"}, False)],
)
def test_who_pulls_a_port_does_not_make_the_host_key_be_forgotten(
    in_memory: bool, detail: dict[str, Any], is_held: bool, tmp_path: Path
) -> None:
    known = _known(tmp_path, KEY)
    known.parent.mkdir(parents=True)
    known.write_text("the one it has")
    disks = () if in_memory else (Disk(volume=f"{KEY}/root"),)
    node = NodeSpec(key=KEY, owner="manor/test", host="h", name="web", vcpus=1, memory_bytes=1 << 20, disks=disks)
    repair = Step(
        id=f"ensure node {KEY}",
        verb=Verb.ENSURE,
        kind="node",
        key=KEY,
        endpoint="vim:lab",
        change="repair",
        spec=spec_to_json(node),
    )
    seen = SimpleNamespace(detail=detail)
    vim = SimpleNamespace(ensure=lambda spec, _ctx: spec, observe=lambda _query, _ctx: [seen])
    rt: Any = SimpleNamespace(home=tmp_path, owner="manor/test", driver=lambda _endpoint: vim)
    Driving(rt=rt).perform(repair, CallContext.within(60))
    assert known.exists() is is_held


def test_an_image_is_read_from_this_nodes_files_whoever_made_the_plan(tmp_path: Path) -> None:
    image = ImageSpec(
        key="image/aa@h",
        owner="manor/test",
        host="h",
        name="vmlinuz",
        sha256="aa" * 32,
        size_bytes=1,
        format=DiskFormat.RAW,
        source="/home/of/another/node/packages/aa",
    )
    step = Step(
        id="ensure image", verb=Verb.ENSURE, kind="image", key=image.key, endpoint="vim:lab", spec=spec_to_json(image)
    )
    made: list[Any] = []
    vim = SimpleNamespace(ensure=lambda spec, _ctx: made.append(spec.source), observe=lambda _query, _ctx: ())
    rt: Any = SimpleNamespace(home=tmp_path, owner="manor/test", driver=lambda _endpoint: vim)
    with pytest.raises(Permanent, match=r"the file of image vmlinuz is not on this node \(.+\)") as refused:
        Driving(rt=rt).perform(step, CallContext.within(5))
    assert "manor package onboard" in refused.value.hint
    mine = tmp_path / "packages" / "aa" / image.sha256
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"k")
    Driving(rt=rt).perform(step, CallContext.within(5))
    assert made == [str(mine)]


def test_a_gate_passes_over_a_way_in_that_measures_nothing(tmp_path: Path) -> None:
    def driver(endpoint: str) -> Any:
        raise AssertionError(f"{endpoint} was asked")

    step = Step(
        id="verify kpi",
        verb=Verb.VERIFY,
        kind="kpi",
        key=KEY,
        endpoint="vnfm:generic",
        spec={"nodes": {KEY: "ssh://ops@192.0.2.1"}, "conditions": ["v_cpu_usage_mean<80"], "soak_s": 0.0},
    )
    with pytest.raises(Permanent, match="was not measured"):
        stand(SimpleNamespace(home=tmp_path, driver=driver), step, CallContext.within(5), lambda _s: None)


def test_a_machine_whose_agent_is_not_up_yet_is_configured_once_it_is(tmp_path: Path) -> None:
    """A VIM cannot always tell that nothing was run; configuring twice is no harm."""
    silences, waits = iter(range(10)), []

    def configure(*_: object) -> None:
        if next(silences, None) is not None:
            raise Indeterminate("no agent answers")

    view = {"id": KEY, "name": "web", "service": "s", "vnfd_id": "v", "flavour_id": "", "vnfcs": ()}
    step = Step(
        id="configure", verb=Verb.CONFIGURE, kind="vnf", key=KEY, endpoint="vnfm:own", spec={"view": view, "nodes": {}}
    )
    rt: Any = SimpleNamespace(
        home=tmp_path, driver=lambda _: SimpleNamespace(configure=configure), tokens_given=lambda _: frozenset()
    )
    Driving(rt=rt, sleep=waits.append).perform(step, CallContext.within(60))
    assert len(waits) == 10


@pytest.mark.parametrize("boot_s", [0.3, 2.8, 9.0, 60.0])
def test_a_machine_that_is_up_is_not_kept_waiting(boot_s: float, tmp_path: Path) -> None:
    """Who repairs a machine waits for its boot, and little more; nor is one that boots long asked without pause."""
    waits: list[float] = []

    def health(*_: object) -> Health:
        return Health(ready=sum(waits) >= boot_s, reason="it boots")

    view = {"id": KEY, "name": "web", "service": "s", "vnfd_id": "v", "flavour_id": "", "vnfcs": ()}
    step = Step(id="verify", verb=Verb.VERIFY, kind="vnf", key=KEY, endpoint="vnfm:own", spec={"view": view})
    rt: Any = SimpleNamespace(
        home=tmp_path, driver=lambda _: SimpleNamespace(health=health), tokens_given=lambda _: frozenset()
    )
    Driving(rt=rt, sleep=waits.append).perform(step, CallContext.within(600))
    assert sum(waits) <= boot_s * 1.1 + 0.1
    assert len(waits) <= 30 + boot_s


def test_what_was_wrong_is_told_when_the_last_look_runs_out_of_time(tmp_path: Path) -> None:
    now_s = [0.0]

    def health(_view: object, _guests: object, ctx: CallContext) -> Health:
        now_s[0] += 0.3
        ctx.check("health")
        return Health(ready=False, reason="no answer from web-0")

    def sleep(seconds: float) -> None:
        now_s[0] += seconds

    view = {"id": KEY, "name": "web", "service": "s", "vnfd_id": "v", "flavour_id": "", "vnfcs": ()}
    step = Step(id="verify", verb=Verb.VERIFY, kind="vnf", key=KEY, endpoint="vnfm:own", spec={"view": view})
    rt: Any = SimpleNamespace(
        home=tmp_path, driver=lambda _: SimpleNamespace(health=health), tokens_given=lambda _: frozenset()
    )
    with pytest.raises(DeadlineExceeded, match="no answer from web-0"):
        Driving(rt=rt, sleep=sleep).perform(step, CallContext(deadline=1.0, clock=lambda: now_s[0]))
