import dataclasses
import xml.etree.ElementTree as ET

import pytest
from samples import SID, at, port, secure_web, vnf

from manor.api import OperationKind, Plan, Step, Undo, Verb
from manor.cli.render.plan import Action, changes, counts, plan_lines
from manor.cli.render.steps import seconds, size
from manor.cli.render.timeline import timeline
from manor.cli.render.timeline_svg import timeline_svg
from manor.cli.render.timeline_text import timeline_text
from manor.cli.render.topology_ascii import topology_ascii
from manor.cli.render.topology_mermaid import topology_mermaid
from manor.cli.render.topology_svg import topology_svg
from manor.model.instance import NsLcmOpOcc, OperationState, StepRecord, StepState
from manor.model.topology import ServiceTopology, TopologyElement

SVG = "{http://www.w3.org/2000/svg}"

ASCII = """\
secure-web  5ec0de01  INSTANTIATED

  +---------+   +----------+   +----------+   +---------+
  |  client |   | firewall |   | monitor  |   |   web   |
  |  @ kvm1 |   |  @ kvm1  |   |  @ kvm2  |   |  @ kvm2 |
  |  active |   |  active  |   | degraded |   |  active |
  +--+---+--+   +---+---+--+   +---+---+--+   +--+---+--+
     |   |          |   |          |   |         |   |
=====o===|==========o===o==========o===o=========o===|=====  lan  10.10.0.0/24
         |                                           |
=========o===========================================o=====  mgmt  10.20.0.0/24

chain inspect  both ways  active
  for tcp to 10.10.0.3/32 port 80
  client:eth0 --> [1] firewall:in>out --> [2] monitor:in>out --> web:eth0

machine   port  link  address       mac                device
client    eth0  lan   10.10.0.2/24  02:00:5e:00:00:01  m5ec001
client    mgmt  mgmt  10.20.0.2/24  02:00:5e:00:00:02  m5ec002
firewall  in    lan   -             02:00:5e:00:00:05  m5ec005
firewall  out   lan   -             02:00:5e:00:00:06  m5ec006
monitor   in    lan   -             02:00:5e:00:00:07  m5ec007
monitor   out   lan   -             02:00:5e:00:00:08  m5ec008
web       eth0  lan   10.10.0.3/24  02:00:5e:00:00:03  m5ec003
web       mgmt  mgmt  10.20.0.3/24  02:00:5e:00:00:04  m5ec004
"""


def test_the_ascii_picture() -> None:
    assert topology_ascii(secure_web()) == ASCII
    assert topology_ascii(secure_web()).isascii()


def test_a_narrow_picture_goes_on_below() -> None:
    lines = topology_ascii(secure_web(), width=45).split("\n\nchain")[0].splitlines()
    assert max(len(line.partition("  lan")[0].partition("  mgmt")[0]) for line in lines) <= 45
    assert sum("lan  10.10.0.0/24" in line for line in lines) == 2


def shared() -> ServiceTopology:
    """Two firewalls share the first hop; one of them has a name that XML and Mermaid would read."""
    service = secure_web()
    evil = 'fw"<&]]>\x1b'
    second = vnf(evil, "kvm1", port(evil, "in", "lan", n=9), port(evil, "out", "lan", n=10))
    chain = service.chains[0]
    hop = chain.hops[0]
    more = TopologyElement(ingress=at(evil, "in"), egress=at(evil, "out"))
    hops = (dataclasses.replace(hop, elements=(*hop.elements, more)), *chain.hops[1:])
    chain = dataclasses.replace(chain, hops=hops)
    return dataclasses.replace(service, vnfs=(*service.vnfs, second), chains=(chain,))


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter(f"{SVG}text")]


def test_the_svg_shows_every_machine_link_port_and_hop() -> None:
    said = texts(topology_svg(shared()))
    for expected in ("client", "firewall", "monitor", "web", "kvm1 on lab", "degraded", "10.10.0.2", "eth0"):
        assert expected in said
    assert "lan · 10.10.0.0/24" in said
    assert [word for word in said if word in ("1", "2")] == ["1", "1", "2"]
    assert any(word.startswith("inspect: tcp to") for word in said)


def test_hostile_names_stay_text() -> None:
    svg = topology_svg(shared())
    assert 'fw"<&]]>\\x1b' in texts(svg)
    mermaid = topology_mermaid(shared())
    assert "fw#34;#60;#38;#93;#93;#62;" in mermaid
    assert "\x1b" not in topology_ascii(shared())


@pytest.mark.parametrize("draw", [topology_svg, topology_ascii, topology_mermaid])
def test_a_service_with_nothing_in_it_can_be_drawn(draw) -> None:  # type: ignore[no-untyped-def]
    assert draw(ServiceTopology(id="1", name="empty"))


def test_mermaid_numbers_the_chain() -> None:
    lines = topology_mermaid(secure_web()).splitlines()
    assert lines[0] == "flowchart TB"
    assert '  m0 <==>|"inspect 1"| m1' in lines
    assert '  m2 <==>|"inspect 3"| m3' in lines


def step(
    kind: str, key: str, verb: Verb = Verb.ENSURE, summary: str = "", deps: tuple[str, ...] = (), **more: object
) -> Step:
    facts = {"endpoint": "vim:lab", "host": "kvm1", "undo": Undo.REMOVE, **more}
    return Step(
        id=f"{verb} {kind} {SID}/{key}",
        verb=verb,
        kind=kind,
        key=f"{SID}/{key}",
        summary=summary,
        change=summary.partition(" ")[0],
        depends_on=deps,
        **facts,  # type: ignore[arg-type]
    )


GONE = step("node", "vnf/mon/main-0", Verb.REMOVE, "remove node: mon's VDU main", before={"firmware": "bios"})
PLAN = Plan(
    operation=OperationKind.UPDATE,
    service_id=SID,
    service_name="secure-web",
    steps=(
        step(
            "segment", "vl/lan", summary="create segment: forwarding of virtual link lan", endpoint="sdn:ryu", host=""
        ),
        step("node", "vnf/client/main-0", summary="create node: client's VDU main"),
        step("node", "vnf/client/main-0", Verb.VERIFY, "prove that the node is at work: client's VDU main"),
        step(
            "node",
            "vnf/fw/main-0",
            summary="update node: fw's VDU main",
            before={
                "memory_bytes": 512 << 20,
                "ports": [{"name": "in"}, {"name": "up", "mtu": 1}],
                "argv": [1],
                "c": {},
            },
            spec={
                "memory_bytes": 1 << 30,
                "ports": [{"key": f"{SID}/vnf/fw/main-0/out"}, {"name": "up", "mtu": 2}],
                "argv": [1, 2],
                "c": {"cpu": 1},
            },
        ),
        GONE,
        step("node", "vnf/mon/main-0", summary="replace node: mon's VDU main", spec={"firmware": "uefi"}),
        step("node", "vnf/web/main-0", summary="repair node: web's VDU main (stopped)"),
        step("volume", "vnf/old/main-0/root", Verb.REMOVE, "remove volume: left over (already gone)"),
        step("vnf", "vnf/client", Verb.VERIFY, "prove: client is healthy", endpoint="vnfm:generic", host=""),
    ),
    unchanged=("a", "b"),
    notes=("vnf/client/main-0: most memory free",),
)

PLAN_TEXT = """\
UPDATE secure-web (5ec0de01)

  + segment  lan              sdn:ryu          forwarding of virtual link lan
  + node     client/main-0    vim:lab on kvm1  client's VDU main
  ~ node     fw/main-0        vim:lab on kvm1  fw's VDU main
      memory 512 MiB -> 1 GiB
      ports +fw/main-0/out ~up -in
      argv +1
      c ~cpu
  ± node     mon/main-0       vim:lab on kvm1  mon's VDU main
      firmware bios -> uefi
  * node     web/main-0       vim:lab on kvm1  web's VDU main (stopped)
  - volume   old/main-0/root  vim:lab on kvm1  left over (already gone)
  ? vnf      client           vnfm:generic     prove: client is healthy

  note: vnf/client/main-0: most memory free

2 to create, 1 to change, 1 to repair, 1 to replace, 1 to remove, 1 to check; 2 already as they should be"""


def test_the_plan_for_a_person() -> None:
    assert "\n".join(text for text, _ in plan_lines(PLAN)) == PLAN_TEXT
    assert counts(changes(PLAN))[Action.REPLACE] == 1


def test_a_replacement_says_what_differs_what_is_lost_and_which_gate_is_to_be_stood() -> None:
    disk = "vnf/db/main-0/disk"
    gone = step("volume", disk, Verb.REMOVE, "remove volume: disk, with its data", before={"snapshot": ""})
    steps = (
        dataclasses.replace(gone, undo=Undo.IMPOSSIBLE),
        step("volume", disk, summary="replace volume: disk", spec={"snapshot": "clean"}),
        step("kpi", disk, Verb.VERIFY, "prove: v_up>0 for 5 s on main-0", endpoint="vnfm:generic", host=""),
    )
    plan = dataclasses.replace(PLAN, steps=steps, notes=(), unchanged=())
    assert [text for text, _ in plan_lines(plan, "REVERT_VNF_TO_SNAPSHOT")] == [
        f"UPDATE secure-web ({SID}): REVERT_VNF_TO_SNAPSHOT",
        "",
        "  ± volume  db/main-0/disk  vim:lab on kvm1  disk",
        "      snapshot none -> clean",
        "      what it holds now is lost",
        "  ? kpi     db/main-0/disk  vnfm:generic     prove: v_up>0 for 5 s on main-0",
        "",
        "1 to replace, 1 to check",
    ]


def test_a_plan_with_nothing_to_do_says_so() -> None:
    plan = Plan(operation=OperationKind.REPAIR, service_id=SID, service_name="web", steps=())
    assert plan_lines(plan)[-1][0] == "nothing to do"


T = 1_000_000.0


def record(what: Step, start: float, end: float, state: StepState = StepState.DONE, **more: object) -> StepRecord:
    started_s = T + start if start >= 0 else 0.0
    ended_s = T + end if end > 0 else 0.0
    return StepRecord(step=what, state=state, started_s=started_s, ended_s=ended_s, attempt=1, **more)  # type: ignore[arg-type]


def journal() -> tuple[NsLcmOpOcc, list[StepRecord]]:
    image = step("image", "image/00ff@kvm1")
    network = step("network", "vl/lan@kvm1")
    node = step(
        "node", "vnf/web/main-0", deps=(f"ensure image {SID}/image/00ff@kvm1", f"ensure network {SID}/vl/lan@kvm1")
    )
    late = step("node", "vnf/fw/main-0", deps=(f"ensure network {SID}/vl/lan@kvm1",))
    never = step("chain", "chain/c", deps=(f"ensure node {SID}/vnf/fw/main-0",))
    operation = NsLcmOpOcc(
        id="0f1e2d3c4b5a",
        ns_id=SID,
        ns_name="secure-web",
        operation=OperationKind.INSTANTIATE,
        state=OperationState.PROCESSING,
        start_s=T,
    )
    return operation, [
        record(image, 0.0, 4.0),
        record(network, 0.0, 1.0),
        record(node, 4.0, 0, StepState.INTENDED),
        record(late, 3.0, 3.5, StepState.FAILED, error="no room"),
        record(never, -1, 0, StepState.PLANNED),
    ]


TIMELINE = """\
INSTANTIATE secure-web  0f1e2d3c4b5a  PROCESSING  8.0 s

network lan@kvm1  ▒▒                      1.0 s
image 00ff@kvm1   ██████████              4.0 s
node fw/main-0           ▒               500 ms  failed  after network lan@kvm1  waited 2.0 s for a worker  (no room)
node web/main-0             ██████████    4.0 s  intended  after image 00ff@kvm1
chain c           not started

█ critical path, 8.0 s of 8.0 s   ▒ beside it
"""


def test_the_timeline_says_what_waited_for_what() -> None:
    operation, steps = journal()
    times = timeline(operation, steps, T + 8.0)
    by_name = {bar.name: bar for bar in times.bars}
    assert by_name["node web/main-0"].after.endswith("image/00ff@kvm1")
    assert by_name["node web/main-0"].critical
    assert by_name["node fw/main-0"].waited_s == pytest.approx(2.0)
    assert timeline_text(times, width=20) == TIMELINE


def test_the_timeline_as_a_picture() -> None:
    operation, steps = journal()
    picture = timeline_svg(timeline(operation, steps, T + 8.0))
    said = texts(picture)
    (note,) = (each for each in ET.fromstring(picture).iter() if each.text == "4.0 s" and "paint-order" in each.attrib)
    assert note.get("stroke") == "#ffffff", "lines that run behind it do not cross it"
    assert {"image 00ff@kvm1", "4.0 s", "500 ms failed", "critical path", "8 s"} <= set(said)


def test_an_operation_that_has_not_begun_has_a_timeline() -> None:
    operation, steps = journal()
    times = timeline(operation, [dataclasses.replace(r, started_s=0.0, ended_s=0.0) for r in steps], T)
    assert len(times.waiting) == 5
    assert "not started" in timeline_text(times)
    assert ET.fromstring(timeline_svg(times)) is not None


def test_durations_and_sizes_for_people() -> None:
    assert [seconds(s) for s in (0.0004, 0.5, 9.94, 61, 300, 7300)] == [
        "0 ms",
        "500 ms",
        "9.9 s",
        "61 s",
        "5 min 0 s",
        "2 h 1 min",
    ]
    assert [size(b) for b in (0, 1023, 1 << 20, 3 << 29, 1 << 44)] == ["0 B", "1023 B", "1 MiB", "1.5 GiB", "16.0 TiB"]
