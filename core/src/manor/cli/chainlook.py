"""Looking into a chain: is it as it should be, where does a packet go, how much went where."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from manor.cli.exits import ExitCode
from manor.cli.find import complete_ns, find_ns
from manor.cli.names import resolve
from manor.cli.packet import packet_fields
from manor.cli.render.hops import HopCount, hop_counts
from manor.cli.session import Session, session
from manor.errors import UsageError
from manor.model.topology import ServiceTopology, TopologyChain

if TYPE_CHECKING:
    from manor.api import ChainSpec, Observed, SegmentSpec, TraceHop
    from manor.lcm.chainprobe import ProbedWay
    from manor.lcm.chainproof import Check

__all__ = ["Chain", "ChainName", "counters", "drawn", "find_chain", "trace", "verify"]

_LOOK_S = 30.0

Chain = Annotated[
    str,
    typer.Argument(
        metavar="NS[/CHAIN]", help="A service, and the chain where it has several.", autocompletion=complete_ns
    ),
]
ChainName = Annotated[str, typer.Argument(metavar="[CHAIN]", help="The chain, if not named before.")]


def drawn(s: Session, typed: str) -> ServiceTopology:
    """The picture of a service."""
    from manor.lcm.views import topology

    return topology(s.runtime, find_ns(s, typed).id)


def find_chain(s: Session, typed: str, second: str = "") -> tuple[ServiceTopology, TopologyChain]:
    """The chain that ``NS/CHAIN``, or ``NS`` and ``CHAIN``, or ``NS`` alone means."""
    service, _, name = typed.partition("/")
    name = second or name
    picture = drawn(s, service)
    chains = picture.chains
    if not chains:
        raise UsageError(f"{picture.name} has no chain", hint=f"manor ns topology {picture.name}")
    if not name and len(chains) == 1:
        return picture, chains[0]
    if not name:
        names = ", ".join(chain.name for chain in chains)
        raise UsageError(
            f"{picture.name} has {len(chains)} chains: {names}", hint=f"name one: {service}/{chains[0].name}"
        )
    key = resolve(
        name, ((chain.key, chain.name) for chain in chains), what="chain", listing=f"manor chain list {service}"
    )
    return picture, next(chain for chain in chains if chain.key == key)


def _desired(s: Session, ns_id: str, key: str) -> tuple[ChainSpec, list[SegmentSpec], str]:
    """The chain as it should be, the segments at its controller, and the controller."""
    from manor.api import ChainSpec, SegmentSpec
    from manor.store import instances

    with s.runtime.store.read() as tx:
        state = instances.desired(tx, ns_id)
    resources = state.resources if state else ()
    for resource in resources:
        if isinstance(resource.spec, ChainSpec) and resource.spec.key == key:
            near = [r.spec for r in resources if r.endpoint == resource.endpoint and isinstance(r.spec, SegmentSpec)]
            return resource.spec, near, resource.endpoint
    raise UsageError(f"the chain {key} is not installed", hint="manor ns show")


def _observe(s: Session, endpoint: str, key: str) -> Observed | None:
    from manor.api import CallContext, Query, ResourceKind

    query = Query(owner=s.runtime.owner, kinds=frozenset({ResourceKind.CHAIN}), keys=frozenset({key}))
    found = s.runtime.driver(endpoint).observe(query, CallContext.within(_LOOK_S))
    return found[0] if found else None


# --- verify


def verify(
    ctx: typer.Context,
    service: Chain,
    chain: ChainName = "",
    probe: Annotated[bool, typer.Option("--probe/--no-probe", help="Send real, marked frames along the chain.")] = True,
) -> None:
    """Compare what the switches hold with what was compiled, walk sample packets over it, and send real probes that
    have to be seen at every hop; ends with 1 where something is wrong."""
    from manor.api import CallContext
    from manor.lcm.chainprobe import probe_chain, probes
    from manor.lcm.chainproof import prove

    s = session(ctx)
    picture, found = find_chain(s, service, chain)
    spec, segments, endpoint = _desired(s, picture.id, found.key)
    driver = s.runtime.driver(endpoint)
    topology = driver.topology(CallContext.within(_LOOK_S))
    names = _devices(picture)
    checks = [*_installed(spec, _observe(s, endpoint, spec.key), names)]
    checks += prove(spec, segments, driver.compile, topology)
    within = CallContext.within(_LOOK_S)
    ways = probe_chain(driver, spec, within) if probe and probes(driver, within) else ()
    ok = all(check.ok for check in checks) and all(way.ok for way in ways)

    def human() -> None:
        for check in checks:
            s.out.line(f"{'ok  ' if check.ok else 'FAIL'}  {check.what}", style="" if check.ok else "red")
            for line in filter(None, check.why.split("\n")):
                s.out.line(f"        {line}")
        if ways:
            s.out.line()
            s.out.table(_PROBE_HEADERS, [row for way in ways for row in _probed(way)], right=("ms",))
        word = "as it should be" if ok else f"not as it should be: manor ns drift {picture.name}"
        s.out.line(f"{picture.name}/{found.name} is {word}", style="green" if ok else "red")

    s.out.result({"service": picture.name, "chain": found.name, "ok": ok, "checks": checks, "probes": ways}, human)
    if not ok:
        raise typer.Exit(ExitCode.GENERAL)


_PROBE_HEADERS = ("probe", "hop", "host", "seen", "ms")
_SEEN = {"passed": "passed", "kept": "went in, did not come out", "lost": "did not get there", "unseen": "not known"}


def _probed(way: ProbedWay) -> Iterable[tuple[object, ...]]:
    first = f"{way.way} {way.what}"
    for hop in way.hops:
        seen = _SEEN[hop.verdict] + (" (it may)" if hop.may_keep and hop.verdict == "kept" else "")
        why = f": {hop.note}" if hop.verdict == "lost" and hop.note else ""
        yield first, hop.name, hop.host, seen + why, "" if hop.latency_s is None else f"{hop.latency_s * 1000:.1f}"
        first = ""


def _installed(spec: ChainSpec, seen: Observed | None, names: Mapping[str, str]) -> Iterable[Check]:
    from manor.api import Phase, spec_hash
    from manor.lcm.chainproof import Check

    if seen is None:
        yield Check(what="installed in the switches", ok=False, why="the controller knows nothing of it")
        return
    detail = seen.detail
    rules = len(detail.get("rules", ()))
    wrong = [f"missing: {_worded(str(what), names)}" for what in detail.get("missing", ())]
    wrong += [f"too much: {_extra(what)}" for what in detail.get("extra", ())]
    wrong += [f"not known: {what}" for what in detail.get("unreachable", ())]
    if not wrong and seen.phase is not Phase.ACTIVE:
        wrong = [f"it is {seen.phase}: {detail.get('reason', 'no reason given')}"]
    yield Check(what=f"installed in the switches: {rules} rules", ok=not wrong, why="\n".join(wrong))
    same = seen.spec_hash == spec_hash(spec)
    yield Check(what="of the service's latest plan", ok=same, why="" if same else "it was made from an older one")


def _extra(what: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in what.items()) if isinstance(what, Mapping) else str(what)


# --- trace


def trace(
    ctx: typer.Context,
    service: Chain,
    chain: ChainName = "",
    packet: Annotated[
        str, typer.Option("--packet", "-p", help="As tcp,dst_port=80; what is not said is as the chain's ends are.")
    ] = "",
    back: Annotated[bool, typer.Option("--back", help="From the destination, the way back.")] = False,
) -> None:
    """Follow a packet through the switches' own tables, hop by hop, to where it arrives or stops, and why."""
    from manor.api import CallContext, Classifier, Traced
    from manor.errors import Unsupported
    from manor.lcm.chainproof import sample

    s = session(ctx)
    picture, found = find_chain(s, service, chain)
    spec, _, endpoint = _desired(s, picture.id, found.key)
    driver = s.runtime.driver(endpoint)
    if not isinstance(driver, Traced):
        raise Unsupported(f"the controller {endpoint.partition(':')[2]} cannot trace", capability="trace")
    asked = packet_fields(packet)
    ends = (spec.sources[0], spec.destinations[0])
    usual = sample(spec.classifiers[0] if spec.classifiers and not asked else Classifier(), *ends)
    fields = _merged(usual or sample(Classifier(), *ends) or {}, asked, back=back)
    fields["in_port"] = (ends[1] if back else ends[0]).device
    hops = driver.trace(spec.key, fields, CallContext.within(_LOOK_S))
    names = _devices(picture)
    rows = [
        (n, h.host, names.get(h.device, h.device), "" if h.table is None else h.table, _worded(h.note, names))
        for n, h in enumerate(hops, start=1)
    ]
    ended = [h for h in hops if h.table is None]
    stopped = next((_worded(h.note, names) for h in hops if _is_stop(h)), "")
    last = stopped or (f"it arrives at {names.get(ended[-1].device, ended[-1].device)}" if ended else "it goes nowhere")

    def human() -> None:
        s.out.line("packet: " + ", ".join(f"{k}={v}" for k, v in fields.items() if k != "in_port"))
        s.out.table(("step", "host", "port", "table", "what"), rows, right=("step", "table"))
        s.out.line(f"{'it ' if stopped.startswith('stops') else ''}{last}", style="red" if stopped else "green")

    shown = {"service": picture.name, "chain": found.name, "packet": fields, "hops": _plain(hops, names)}
    s.out.result({**shown, "arrives": not stopped and bool(ended), "why": stopped}, human)


def _is_stop(hop: TraceHop) -> bool:
    return hop.table is None and (hop.note.startswith("stops") or "is not on the switch" in hop.note)


def _merged(frame: dict[str, Any], asked: Mapping[str, Any], *, back: bool) -> dict[str, Any]:
    """The usual frame with what was asked for; fields of another protocol or IP version than asked for go."""
    swap = {"src": "dst", "dst": "src"}
    if back:
        parts = ((name.rpartition("_"), value) for name, value in frame.items())
        frame = {f"{a}_{swap[z]}" if z in swap else f"{a}{u}{z}": value for (a, u, z), value in parts}
    if asked.get("ip_proto", frame.get("ip_proto")) != frame.get("ip_proto"):
        frame = {k: v for k, v in frame.items() if not k.startswith(("tcp_", "udp_", "sctp_"))}
    if asked.get("eth_type", frame.get("eth_type")) != frame.get("eth_type"):
        frame = {k: v for k, v in frame.items() if k.startswith("eth_")}
    return {**frame, **asked}


def _plain(hops: Sequence[TraceHop], names: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {"host": h.host, "device": h.device, "port": names.get(h.device, ""), "table": h.table, "rule": h.rule,
         "note": h.note}
        for h in hops
    ]  # fmt: skip


def _devices(picture: ServiceTopology) -> dict[str, str]:
    """``VNF/port`` by device."""
    return {port.device: f"{vnf.name}/{port.name}" for vnf, _, port in picture.ports().values() if port.device}


def _worded(note: str, names: Mapping[str, str]) -> str:
    """With ports' names for devices' and keys'."""
    note = re.sub(r"\b[0-9a-f]{8}/(?:vnf|vl|chain)/", "", note)
    return " ".join(
        names.get(bare, word) if (bare := word.strip("(),:")) == word else word.replace(bare, names.get(bare, bare))
        for word in note.split(" ")
    )


# --- counters


def counters(
    ctx: typer.Context,
    service: Chain,
    chain: ChainName = "",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Again and again, with rates; Ctrl-C ends it.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 1.0,
    times: Annotated[int, typer.Option(min=0, help="End --watch after so many looks; 0 never.", hidden=True)] = 0,
) -> None:
    """Show how many packets took each hop of a chain, and how many a function kept, as the switches counted them,
    and the milliseconds that the last probes spent in the function before that hop."""
    s = session(ctx)
    picture, found = find_chain(s, service, chain)
    _, _, endpoint = _desired(s, picture.id, found.key)

    def look(before: Sequence[HopCount], since: float) -> tuple[list[HopCount], dict[str, int], float]:
        seen = _observe(s, endpoint, found.key)
        now = time.monotonic()
        rules: list[Mapping[str, Any]] = list(seen.detail.get("rules", ())) if seen else []
        parts: dict[str, int] = {}
        for rule in rules:
            parts[str(rule.get("note"))] = parts.get(str(rule.get("note")), 0) + int(rule.get("packets", 0))
        measured = seen.detail.get("probed", {}).get("latency_s", {}) if seen else {}
        return hop_counts(picture, found, rules, before, now - since if before else 0.0, measured), parts, now

    if watch:
        _watch(s, look, interval, times)
        return
    counts, parts, _ = look((), 0.0)
    shown = {"service": picture.name, "chain": found.name, "hops": counts, "packets": parts}
    s.out.result(shown, lambda: s.out.table(_HEADERS[:7], [_row(c)[:7] for c in counts], right=_RIGHT))


_HEADERS = ("way", "hop", "path", "packets", "bytes", "kept", "ms", "packets/s", "Mbit/s")
_RIGHT = ("hop", "packets", "bytes", "kept", "ms", "packets/s", "Mbit/s")


def _row(count: HopCount) -> tuple[object, ...]:
    return (
        count.way, count.hop, count.path, count.packets, count.bytes, "" if count.lost is None else max(0, count.lost),
        "" if count.latency_s is None else f"{count.latency_s * 1000:.1f}",
        "" if count.packets_per_s is None else f"{count.packets_per_s:.0f}",
        "" if count.bits_per_s is None else f"{count.bits_per_s / 1e6:.2f}",
    )  # fmt: skip


def _watch(s: Session, look: Any, interval_s: float, times: int) -> None:
    counts, _, since = look((), 0.0)
    live: Any = None
    if s.out.is_terminal:
        from rich.live import Live

        live = Live(_table(counts), console=s.out.console, auto_refresh=False)
    number = 1
    with live or contextlib.nullcontext():
        while True:
            if live is not None:
                live.update(_table(counts), refresh=True)
            else:
                for count in counts:
                    words = " ".join(f"{h}={v}" for h, v in zip(_HEADERS, _row(count), strict=True) if v != "")
                    s.out.event(count, words)
            if times and number >= times:
                return
            time.sleep(interval_s)
            number += 1
            counts, _, since = look(counts, since)


def _table(counts: Sequence[HopCount]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for header in _HEADERS:
        table.add_column(header, justify="right" if header in _RIGHT else "left")
    for count in counts:
        table.add_row(*map(str, _row(count)))
    return table
