"""What speaks against a host for one machine: room, location, capabilities, affinity, the ways between sites.

Shared by the policies, so that what one refuses the other refuses too, in the same words.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from manor.api.placement import AffinityScope, Candidate, Demand, LinkNeed, PlacementRule
from manor.api.vim import Host, VimCapability

__all__ = [
    "MILLI",
    "Board",
    "Objection",
    "Room",
    "because",
    "huge_bytes",
    "is_dedicated",
    "lacking",
    "ordinary_bytes",
    "scopes",
    "short",
    "with_on",
]

MILLI = 1000
"""CPUs are counted in thousandths, as the overcommit ratio need not be whole."""
_MIB = 1 << 20
_UNTOLD = 1 << 60


@dataclass(kw_only=True, slots=True)
class Room:
    """What is left on a candidate while placing."""

    candidate: Candidate
    overcommit: float
    """Virtual CPUs per physical one; infinite where nobody says, and they are not weighed."""
    taken: int = 0
    """Machines that were put here."""

    def put(self, demand: Demand) -> None:
        """Take what the machine needs."""
        self.candidate = replace(self.candidate, host=with_on(self.candidate.host, demand))
        self.taken += 1

    @property
    def cpus(self) -> int:
        """Physical CPUs that nobody has to itself."""
        return self.candidate.host.vcpus - self.candidate.host.vcpus_dedicated

    @property
    def shared(self) -> int:
        """Virtual CPUs that share them."""
        return max(0, self.candidate.host.vcpus_used - self.candidate.host.vcpus_dedicated)

    @property
    def memory_bytes(self) -> int:
        """Of ordinary pages."""
        return self.candidate.host.memory_free_bytes

    @property
    def storage_bytes(self) -> int:
        """Of its disks; without bound where the driver tells of none."""
        host = self.candidate.host
        is_told = host.storage_bytes > 0 or host.storage_free_bytes > 0
        return host.storage_free_bytes if is_told else _UNTOLD

    @property
    def whole(self) -> int:
        """What a CPU is to those who share it, in :data:`MILLI`; in floats it would depend on who is weighed first."""
        return round(self.overcommit * MILLI)

    @property
    def vcpus(self) -> float:
        """Virtual CPUs that still find room."""
        if math.isinf(self.overcommit):
            return math.inf
        return self.cpus * self.whole // MILLI - self.shared

    @property
    def dedicable(self) -> int:
        """Physical CPUs that a machine could still have to itself."""
        taken = 0 if math.isinf(self.overcommit) else -(-self.shared * MILLI // self.whole)
        return self.cpus - taken

    @property
    def place(self) -> tuple[str, str]:
        """(VIM, host)."""
        return self.candidate.vim, self.candidate.host.name


@dataclass(frozen=True, kw_only=True, slots=True)
class Objection:
    """Why a host cannot take a demand, and what would have to give for it."""

    why: str
    relaxed: str = ""
    """Empty where nothing that an operator could allow would help."""
    cost: float = 0.0
    """How much of a concession that is, to compare hosts by: a whole rule given up counts 1."""


@dataclass(kw_only=True, slots=True)
class Board:
    """Who stands where while placing."""

    rooms: Mapping[tuple[str, str], Room]
    rules: Mapping[str, Sequence[PlacementRule]]
    """By demand key."""
    hosts: dict[str, tuple[str, str]]
    links: dict[str, set[str]] = field(default_factory=dict)
    """Sites that each virtual link reaches."""
    spent: dict[tuple[str, str], int] = field(default_factory=dict)
    """bit/s taken of the way between two sites, by the sites in order."""
    within: dict[tuple[AffinityScope, tuple[str, ...]], frozenset[tuple[str, str]]] = field(default_factory=dict)
    """Places that are together, by scope and where that is."""
    stands: dict[int, dict[tuple[str, ...], str]] = field(default_factory=dict)
    """Where machines of a rule are, in its scope, each with one of them; by the rule's ``id``."""

    @classmethod
    def of(
        cls,
        rooms: Sequence[Room],
        rules: Sequence[PlacementRule],
        demands: Sequence[Demand],
        fixed: Mapping[str, tuple[str, str]],
    ) -> Board:
        """With what stands already."""
        rules_of: dict[str, list[PlacementRule]] = {}
        for rule in rules:
            for key in rule.keys:
                rules_of.setdefault(key, []).append(rule)
        board = cls(rooms={room.place: room for room in rooms}, rules=rules_of, hosts=dict(fixed))
        wanted = {rule.scope for rule in rules if not rule.anti}
        together: dict[tuple[AffinityScope, tuple[str, ...]], set[tuple[str, str]]] = {}
        for room in rooms if wanted else ():
            for scope, where in scopes(room.candidate).items():
                if scope in wanted:
                    together.setdefault((scope, where), set()).add(room.place)
        board.within = {where: frozenset(places) for where, places in together.items()}
        for key, place in fixed.items():
            if place in board.rooms:
                board._stand(key, board.rooms[place].candidate)
        for demand in demands:
            if fixed.get(demand.key) in board.rooms:
                board._reach(demand, board.rooms[fixed[demand.key]].candidate.pop)
        return board

    def left(self, demand: Demand) -> frozenset[tuple[str, str]] | None:
        """The only places that affinity to those who stand already leaves; None for all."""
        found: frozenset[tuple[str, str]] | None = None
        for rule in self.rules.get(demand.key, ()):
            mates = () if rule.anti else (self.hosts[key] for key in rule.keys if self.hosts.get(key) in self.rooms)
            place = next(iter(mates), None)
            if place is not None:
                near = self.within[rule.scope, scopes(self.rooms[place].candidate)[rule.scope]]
                found = near if found is None else found & near
        return found

    def put(self, demand: Demand, room: Room) -> None:
        """Take the room."""
        room.put(demand)
        self.hosts[demand.key] = room.place
        self._stand(demand.key, room.candidate)
        self._reach(demand, room.candidate.pop)

    def _stand(self, key: str, candidate: Candidate) -> None:
        rules = self.rules.get(key, ())
        where = scopes(candidate) if rules else {}
        for rule in rules:
            self.stands.setdefault(id(rule), {}).setdefault(where[rule.scope], key)

    def _reach(self, demand: Demand, site: str) -> None:
        for need in demand.links:
            reached = self.links.setdefault(need.name, set())
            for other in reached - {site} if site not in reached else ():
                way = min(site, other), max(site, other)
                self.spent[way] = self.spent.get(way, 0) + need.bitrate_bps
            reached.add(site)

    def objections(self, demand: Demand, room: Room) -> Iterator[Objection]:
        """Everything that speaks against this host; the first is the plainest."""
        host, (vim, name) = room.candidate.host, room.place
        if not host.reachable:
            yield Objection(why=host.reason or "not reachable")
            return
        if demand.wanted_vim and demand.wanted_vim != vim:
            yield Objection(why=f"not in VIM {demand.wanted_vim}", relaxed=f"allowed in VIM {vim}", cost=1.0)
        if demand.wanted_host and demand.wanted_host != name:
            yield Objection(why=f"not host {demand.wanted_host}", relaxed=f"allowed on host {name}", cost=1.0)
        if demand.wanted_site and demand.wanted_site != room.candidate.pop:
            yield Objection(
                why=f"not at site {demand.wanted_site}", relaxed=f"allowed at site {room.candidate.pop}", cost=1.0
            )
        yield from lacking(demand, room.candidate)
        yield from _short(demand, room)
        yield from self._rules(demand, room)
        mine: dict[tuple[str, str], int] = {}
        for need in demand.links:
            yield from self._ways(need, room.candidate, mine)

    def _rules(self, demand: Demand, room: Room) -> Iterator[Objection]:
        rules = self.rules.get(demand.key, ())
        here = scopes(room.candidate) if rules else {}
        for rule in rules:
            there, where = self.stands.get(id(rule), {}), here[rule.scope]
            apart = (key for at, key in there.items() if at != where)
            other = there.get(where) if rule.anti else next(apart, None)
            if other is not None:
                what = f"{'anti-affinity' if rule.anti else 'affinity'} {rule.name or rule.scope}"
                why = f"{what} with {other.rsplit('/', 1)[-1]}"
                yield Objection(why=why, relaxed=f"no {what}", cost=1.0)

    def _ways(self, need: LinkNeed, candidate: Candidate, mine: dict[tuple[str, str], int]) -> Iterator[Objection]:
        """``mine`` is what the machine's other links take of the ways; this one's is added."""
        site = candidate.pop
        reached = self.links.get(need.name, set())
        for other in sorted(reached - {site}) if site not in reached else ():
            way = candidate.site_links.get(other)
            between = f"from {site} to {other}"
            if way is None:
                yield Objection(why=f"link {need.name}: nothing is known of the way {between}")
                continue
            if need.latency_s and way.latency_s > need.latency_s:
                takes, most = f"{way.latency_s * 1e3:g} ms", f"{need.latency_s * 1e3:g}"
                yield Objection(
                    why=f"link {need.name}: {takes} {between}, at most {most} wanted",
                    relaxed=f"{takes} on link {need.name}",
                    cost=1.0,
                )
            ends = min(site, other), max(site, other)
            free = way.bandwidth_bps - self.spent.get(ends, 0) - mine.get(ends, 0)
            mine[ends] = mine.get(ends, 0) + need.bitrate_bps
            if need.bitrate_bps and need.bitrate_bps > free:
                yield Objection(
                    why=f"link {need.name}: {need.bitrate_bps / 1e6:g} Mbit/s wanted {between}, {free / 1e6:g} free",
                    relaxed=f"{(need.bitrate_bps - free) / 1e6:g} Mbit/s more {between}",
                    cost=(need.bitrate_bps - free) / need.bitrate_bps,
                )


def scopes(candidate: Candidate) -> dict[AffinityScope, tuple[str, ...]]:
    """Where a host is, in each scope of affinity: equal values are together."""
    node = (candidate.vim, candidate.host.name)
    pop = (candidate.pop,)
    zone = (*pop, candidate.host.zone)
    return {
        AffinityScope.NFVI_NODE: node,
        AffinityScope.NETWORK_LINK_AND_NODE: node,
        AffinityScope.ZONE: zone,
        AffinityScope.ZONE_GROUP: (*pop, candidate.host.labels.get("zone-group", candidate.host.zone)),
        AffinityScope.NFVI_POP: pop,
    }


def lacking(demand: Demand, candidate: Candidate) -> Iterator[Objection]:
    """What the machine needs and cannot be had there."""
    host = candidate.host
    lacks = [need for need in demand.needs if need in host.lacks]
    missing = [need for need in demand.needs if need in host.lacks or candidate.support.get(need) != "full"]
    if missing:
        reasons = ", ".join(f"{need} ({host.lacks[need]})" for need in lacks)
        why = f"host {host.name} lacks {reasons}" if lacks else f"VIM {candidate.vim} cannot do {', '.join(missing)}"
        yield Objection(why=why, relaxed=f"asking for no {', '.join(missing)}", cost=2.0)


def short(demand: Demand, candidate: Candidate, cpu_overcommit: float | None) -> Iterator[Objection]:
    """What the host has too little of for one machine more, whatever a policy makes of it.

    CPUs that are shared are not weighed where nobody says how many virtual ones share one.
    """
    if not candidate.host.reachable:
        yield Objection(why=candidate.host.reason or "not reachable")
        return
    yield from _short(demand, Room(candidate=candidate, overcommit=cpu_overcommit or math.inf))


def because(objections: Mapping[tuple[str, str], Sequence[Objection]]) -> str:
    """Each host with its reason, and the least that would have to give for one of them to do."""
    if not objections:
        return "no VIM is registered"
    reasons = "; ".join(f"{vim}/{host}: {whys[0].why}" for (vim, host), whys in sorted(objections.items()))
    able = [place for place, whys in objections.items() if all(why.relaxed for why in whys)]
    if not able:
        return reasons
    nearest = min(able, key=lambda place: (sum(why.cost for why in objections[place]), place))
    relaxed = " and ".join(dict.fromkeys(why.relaxed for why in objections[nearest]))
    return f"{reasons}; nearest: {'/'.join(nearest)}, with {relaxed}"


def is_dedicated(demand: Demand) -> bool:
    """Whether each of its virtual CPUs has a physical one to itself."""
    return VimCapability.CPU_PINNING in demand.needs


def ordinary_bytes(demand: Demand) -> int:
    """Its memory that is of ordinary pages."""
    return 0 if demand.hugepage_bytes else demand.memory_bytes


def huge_bytes(demand: Demand) -> int:
    """Its memory that is of huge pages: whole ones."""
    size = demand.hugepage_bytes
    return -(-demand.memory_bytes // size) * size if size else 0


def with_on(host: Host, demand: Demand) -> Host:
    """The host with this machine on it too."""
    size, pages = demand.hugepage_bytes, host.hugepages_free_bytes
    return replace(
        host,
        vcpus_used=host.vcpus_used + demand.vcpus,
        vcpus_dedicated=host.vcpus_dedicated + (demand.vcpus if is_dedicated(demand) else 0),
        memory_free_bytes=host.memory_free_bytes - ordinary_bytes(demand),
        storage_free_bytes=host.storage_free_bytes - demand.storage_bytes,
        hugepages_free_bytes={**pages, size: pages.get(size, 0) - huge_bytes(demand)} if size else pages,
    )


def _page(size_bytes: int) -> str:
    """``2M``, as people call it."""
    unit, by = ("G", 30) if size_bytes >> 30 else ("M", 20) if size_bytes >> 20 else ("K", 10)
    return f"{size_bytes >> by}{unit}"


def _short(demand: Demand, room: Room) -> Iterator[Objection]:
    rooms = [
        ("memory", ordinary_bytes(demand), room.memory_bytes),
        ("storage", demand.storage_bytes, room.storage_bytes),
    ]
    pages, size = room.candidate.host.hugepages_free_bytes, demand.hugepage_bytes
    if size in pages:
        rooms.insert(1, (f"memory in {_page(size)} pages", huge_bytes(demand), pages[size]))
    elif size:
        told = f"{huge_bytes(demand) >> 20} MiB set aside as {_page(size)} pages"
        yield Objection(
            why=f"no pages of {_page(size)} are set aside there, or its driver tells of none", relaxed=told, cost=1.0
        )
    for what, wanted, free in rooms:
        if wanted and wanted > free:  # who wants none is not kept from a host that has less than none
            why = f"{what}: {wanted >> 20} MiB wanted, {max(0, free) >> 20} MiB free"
            short = -(-(wanted - free) // _MIB)
            yield Objection(why=why, relaxed=f"{short} MiB more {what} free", cost=(wanted - free) / wanted)
    if is_dedicated(demand):
        vcpus, what = room.dedicable, "CPUs"
        asked, at = f"{demand.vcpus} dedicated", ""
    elif math.isinf(room.overcommit):
        return
    else:
        vcpus, what = math.floor(room.vcpus), "virtual CPUs"
        asked, at = str(demand.vcpus), f" at overcommit {room.overcommit:g}"
    if demand.vcpus and demand.vcpus > vcpus:
        why, more = f"CPU: {asked} wanted, {max(0, vcpus)} left{at}", demand.vcpus - vcpus
        yield Objection(why=why, relaxed=f"{more} more {what} free", cost=more / demand.vcpus)
