"""At every prefix of the messages of a change, a frame takes the whole old way, the whole new way, or is dropped."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from manor.api import (
    ChainElement,
    ChainPosition,
    ChainSpec,
    Classifier,
    FlowRule,
    ResourceKind,
    SdnPort,
    SegmentSpec,
    SwitchLink,
    Topology,
)
from manor.fakes.openflow import Fabric
from manor_sdn_ryu.changes import Phase, phases, reorders
from manor_sdn_ryu.compile import compile_spec
from manor_sdn_ryu.entries import IN_PORT, Action, Entry, Identity, resolve
from manor_sdn_ryu.fields import BITS, render
from manor_sdn_ryu.report import Report

HOSTS = ("h1", "h2")
LINKS = tuple(SwitchLink(host=a, peer=b, device=f"vx-{b}") for a, b in itertools.permutations(HOSTS, 2))
TOPOLOGY = Topology(switches=(), links=LINKS)
NAMES = "abcd"
Tables = dict[str, dict[Identity, Entry]]


def end(number: int, host: str) -> SdnPort:
    return SdnPort(key=f"p{number}", host=host, device=f"p{number}", mac=f"02:00:00:00:00:0{number}",
                   addresses=(f"10.0.0.{number}",))  # fmt: skip


def bump(name: str, host: str) -> ChainElement:
    ports = [SdnPort(key=name + s, host=host, device=name + s, mac="", transparent=True) for s in "io"]
    return ChainElement(ingress=ports[0], egress=ports[1])


def make(path: tuple[str, ...], far: bool, where: dict[str, str]) -> tuple[SegmentSpec, ChainSpec]:
    a, b = end(1, "h1"), end(2, "h2" if far else "h1")
    segment = SegmentSpec(key="lan", owner="manor/t", name="lan", ports=(a, b))
    positions = tuple(ChainPosition(name=name, elements=(bump(name, where[name]),)) for name in path)
    chain = ChainSpec(key="c", owner="manor/t", name="c", segment="lan", classifiers=(Classifier(protocol="tcp"),),
                      sources=(a,), destinations=(b,), positions=positions)  # fmt: skip
    return segment, chain


DEVICES = ["p1", "p2", *(name + side for name in NAMES for side in "io"), *(link.device for link in LINKS)]
PORTS = {device: number for number, device in enumerate(dict.fromkeys(DEVICES), 1)}
BACK = {number: device for device, number in PORTS.items()}


def entries(spec: SegmentSpec | ChainSpec | None) -> Tables:
    if spec is None:
        return {host: {} for host in HOSTS}
    program = compile_spec(spec, TOPOLOGY)
    return {host: {i: e for i, (e, _) in resolve(program, host, PORTS).entries.items()} for host in HOSTS}


def _symbolic(action: Action) -> tuple[str, str | int]:
    match action:
        case ("output", int(port)):
            return "output", "in_port" if port == IN_PORT else BACK[port]
        case ("set_field", str(name), int(value)):
            return "set_field", f"{name}={render(name, (value, (1 << BITS[name]) - 1))}"
        case ("move", source, target):
            return "move", f"{source}->{target}"
    return str(action[0]), action[1]


def rules(tables: Tables) -> list[FlowRule]:
    found = []
    for host, held in tables.items():
        for entry in held.values():
            match = tuple(
                (name, BACK[value]) if name == "in_port" else (name, render(name, (value, mask)))
                for name, value, mask in entry.match
            )
            actions = tuple(map(_symbolic, entry.actions))
            found.append(FlowRule(host=host, table=entry.table, priority=entry.priority, match=match, actions=actions))
    return found


def ways(tables: Tables, far: bool, where: dict[str, str]) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """The functions that a frame visits there and back; None when it does not arrive."""
    functions = {n + s: (where[n], n + o) for n in NAMES for s, o in (("i", "o"), ("o", "i"))}
    net = Fabric(rules=rules(tables), links=LINKS, functions=functions)
    there = {"eth_src": "02:00:00:00:00:01", "eth_dst": "02:00:00:00:00:02", "eth_type": 0x0800, "ip_proto": 6,
             "ipv4_src": "10.0.0.1", "ipv4_dst": "10.0.0.2"}  # fmt: skip
    back = {**there, "eth_src": there["eth_dst"], "eth_dst": there["eth_src"], "ipv4_src": "10.0.0.2",
            "ipv4_dst": "10.0.0.1"}  # fmt: skip
    found = []
    for host, device, packet, target in (("h1", "p1", there, "p2"), ("h2" if far else "h1", "p2", back, "p1")):
        walk = net.send(host, device, packet)
        found.append(tuple(d[0] for d in walk.through) if walk.devices == {target} else None)
    return found[0], found[1]


def copy(tables: Tables) -> Tables:
    return {host: dict(held) for host, held in tables.items()}


def play(tables: Tables, host: str, change: object) -> None:
    entry = change.entry  # type: ignore[attr-defined]
    if change.delete:  # type: ignore[attr-defined]
        if tables[host].get(entry.identity, entry).cookie == entry.cookie:
            tables[host].pop(entry.identity, None)
    else:
        tables[host][entry.identity] = entry


PATHS = st.permutations(NAMES).flatmap(lambda names: st.integers(1, 3).map(lambda n: tuple(names[:n])))
PLACES = st.fixed_dictionaries({name: st.sampled_from(HOSTS) for name in NAMES})


@settings(max_examples=30, deadline=None)
@given(st.none() | PATHS, st.none() | PATHS, st.booleans(), PLACES)
def test_no_prefix_of_a_change_mixes_ways(
    old: tuple[str, ...] | None, new: tuple[str, ...] | None, far: bool, where: dict[str, str]
) -> None:
    segment = entries(make(("a",), far, where)[0])
    old_spec, new_spec = (None if path is None else make(path, far, where)[1] for path in (old, new))
    before, wanted = entries(old_spec), entries(new_spec)
    shut = new_spec is not None and reorders(old_spec, new_spec)
    steps = phases(ResourceKind.CHAIN, before, wanted, shut=shut)
    messages = [(host, change) for step in steps for host, sent in step.changes.items() for change in sent]

    allowed = [(path or (), (path or ())[::-1]) for path in (old, new)]
    state = copy(before)

    def check(when: str) -> None:
        there, back = ways({h: {**segment[h], **state[h]} for h in HOSTS}, far, where)
        assert there in (None, *(a for a, _ in allowed)), f"{when}: {there}"
        assert back in (None, *(b for _, b in allowed)), f"{when}: {back}"

    check("before")
    for number, (host, change) in enumerate(messages):
        play(state, host, change)
        check(f"after message {number + 1} of {len(messages)}")
    assert state == wanted
    for offset in range(0, len(messages) + 1, 3):
        late = copy(before)
        delayed: list[tuple[str, object]] = []
        for number, message in enumerate(messages):
            delayed.append(message)
            play(late, *message)
            if number >= offset:
                play(late, *delayed[number - offset])
        for message in delayed[max(0, len(messages) - offset) :]:
            play(late, *message)
        assert late == wanted, "a delayed duplicate of the messages converges"


def test_equal_tables_need_no_message_and_a_swap_shuts_the_entry_first() -> None:
    where = dict.fromkeys(NAMES, "h1")
    same = entries(make(("a", "b"), False, where)[1])
    assert phases(ResourceKind.CHAIN, same, same) == []
    old, new = make(("a", "b", "c"), False, where)[1], make(("b", "a", "c"), False, where)[1]
    assert reorders(old, new)
    steps = phases(ResourceKind.CHAIN, entries(old), entries(new), shut=True)
    assert all(change.entry.actions == () for change in steps[0].changes["h1"])
    assert steps[1].settle


def test_a_rule_that_cannot_be_sent_is_left_and_told() -> None:
    """Under our cookie somebody may match what we know no bytes of."""
    where = dict.fromkeys(NAMES, "h1")
    old, new = make(("a", "b", "c"), False, where)[1], make(("b", "a", "c"), False, where)[1]
    held = entries(old)
    strange = Entry(table=10, priority=9, cookie=5, match=(("ct_mark", 77, 0),), actions=(("output", 1),))
    held["h1"][strange.identity] = strange
    for wanted in (entries(new), entries(None)):
        steps = phases(ResourceKind.CHAIN, held, wanted, shut=True)
        assert strange.match not in {c.entry.match for step in steps for sent in step.changes.values() for c in sent}
    report = Report()
    report._add_extra("h1", PORTS, [strange])
    assert report.extra == [{"host": "h1", "table": 10, "priority": 9, "match": "ct_mark=?"}]


def test_a_new_function_is_laid_before_it_is_entered_and_the_old_one_drains() -> None:
    where = dict.fromkeys(NAMES, "h1")
    old, new = make(("a",), False, where)[1], make(("b",), False, where)[1]
    assert not reorders(old, new)
    laid, drained = phases(ResourceKind.CHAIN, entries(old), entries(new))
    tables = [change.entry.table for change in laid.changes["h1"]]
    assert tables == sorted(tables), "hops (table 0) before classification (table 10)"
    assert isinstance(drained, Phase)
    assert drained.settle
    assert all(change.delete for change in drained.changes["h1"])
