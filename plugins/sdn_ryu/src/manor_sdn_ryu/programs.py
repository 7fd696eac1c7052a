"""All programs that are to be true, and whether one more fits beside them.

Two programs may not claim one frame: a rule that overlaps another program's at equal priority is refused with both
named, since which of them a switch would take is undefined. Keeps no lock; its owner does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from manor.api import ChainSpec, FlowProgram, FlowRule, ResourceKind, Topology
from manor.errors import Conflict, DriverError, Permanent
from manor_sdn_ryu.claims import Claims
from manor_sdn_ryu.compile import compile_spec, function_devices
from manor_sdn_ryu.entries import Limits, check_rule, limits
from manor_sdn_ryu.facts import cookie_of, spec_of
from manor_sdn_ryu.hops import arrivals
from manor_sdn_ryu.pipeline import COMPILER, cookie
from manor_sdn_ryu.store import Store

__all__ = ["Programs"]


_SALTS = range(8)
_Rules = tuple[FlowRule, ...]
_Why = tuple[FlowProgram, frozenset[str], Topology]


def _steers(program: FlowProgram) -> bool:
    return program.kind is ResourceKind.CHAIN


class Programs:
    """The desired state of one agent."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._by_cookie: dict[int, FlowProgram] = {}
        self._claims = Claims()
        self._bent: dict[int, tuple[_Why, FlowProgram]] = {}
        """What a program is while devices of it are gone, by its cookie, with what that was found from."""
        self._claimed: dict[int, _Rules] = {}
        """What each has and what is kept free for it, by its cookie."""
        self._limits: dict[int, dict[str, Limits]] = {}
        """What is held to a rate, by the cookie of the program that says so."""

    def meters(self, host: str, ports: Mapping[str, int]) -> set[int]:
        """The meters on a host that any program needs."""
        found = (one[host].meters(ports) for one in self._limits.values() if host in one)
        return set().union(*found)

    def load(self, topology: Topology) -> None:
        """Read what is stored; what an older release compiled is compiled anew."""
        for compiler, program in list(self._store.programs()):
            spec = spec_of(program)
            if compiler != COMPILER and spec is not None:
                program = replace(compile_spec(spec, topology), spec_hash=program.spec_hash)
            self._hold(*self._with_free_tunnel_ids(program, topology))

    def __iter__(self) -> Iterator[FlowProgram]:
        return iter(list(self._by_cookie.values()))

    def __len__(self) -> int:
        return len(self._by_cookie)

    def cookies(self) -> set[int]:
        """Every program's cookie."""
        return set(self._by_cookie)

    def get(self, number: int) -> FlowProgram | None:
        """The program with this cookie."""
        return self._by_cookie.get(number)

    def find(self, owner: str, kind: ResourceKind, key: str) -> FlowProgram | None:
        """The program of this resource."""
        return self._by_cookie.get(cookie(owner, kind, key))

    def put(self, program: FlowProgram, topology: Topology) -> FlowProgram:
        """Take the program as desired, in place of its former version. Returns it as it is taken.

        Raises Permanent where it is not valid, Conflict where it claims what another program has.
        """
        if program.groups:
            raise Permanent(f"{program.name}: select groups are not used by this controller")
        for rule in program.rules:
            check_rule(rule)
        program, free = self._with_free_tunnel_ids(program, topology)
        self._refuse_clash(program, free)
        self._store.put(cookie_of(program), COMPILER, program)
        self._hold(program, free)
        return program

    def relink(self, topology: Topology) -> None:
        """There are other links than before: other ids are kept free."""
        for program in self:
            self._hold(program, _kept_free(program, topology))

    def drop(self, number: int) -> None:
        """Desire nothing under this cookie any more."""
        self._store.drop(number)
        self._release(number)

    def _with_free_tunnel_ids(self, program: FlowProgram, topology: Topology) -> tuple[FlowProgram, _Rules]:
        """The program, compiled with other tunnel ids where another one has one of these by chance; and what is to be
        kept free for it."""
        spec, number = spec_of(program), cookie_of(program)
        found, free = program, _kept_free(program, topology)
        for salt in _SALTS[1:]:
            received = [*filter(_arrives, found.rules), *free]
            if spec is None or not any(True for rule in received for _ in self._claims.rivals(number, rule)):
                break
            found = replace(compile_spec(spec, topology, salt=salt), spec_hash=program.spec_hash)
            free = _kept_free(found, topology)
        return found, free

    def _refuse_clash(self, program: FlowProgram, free: _Rules) -> None:
        """Raise Conflict when a frame could be meant by this program and by another one."""
        number = cookie_of(program)
        held = self._by_cookie.get(number)
        if held is not None and (held.owner, held.kind, held.key) != (program.owner, program.kind, program.key):
            raise Conflict(
                f"{program.key} and {held.key} have the same cookie", replace=False, hint="rename one of them"
            )
        for rule in (*program.rules, *free):
            for other, their_rule in self._claims.rivals(number, rule):
                rival = self._by_cookie[other]
                raise Conflict(
                    f"{program.kind} {program.key} and {rival.kind} {rival.key} claim the same frames at equal"
                    f" precedence ({rule.note!r}, {their_rule.note!r})",
                    replace=False,
                    fields=("classifiers", "precedence"),
                    hint="narrow a classifier, and give its chain the higher precedence",
                )
            for other, their_rule in self._claims.shadows(number, rule) if _steers(program) else ():
                rival = self._by_cookie[other]
                if not _steers(rival):
                    continue  # a segment's rules are for what no chain wants
                high, low = (program, rival) if rule.priority > their_rule.priority else (rival, program)
                raise Conflict(
                    f"chain {low.key} would get nothing: {high.kind} {high.key} takes all that its rule is for"
                    f" ({rule.note!r}, {their_rule.note!r})",
                    replace=False,
                    fields=("classifiers", "precedence"),
                    hint="give the chain with the narrower classifier the higher precedence",
                )

    def _hold(self, program: FlowProgram, free: _Rules) -> None:
        number = cookie_of(program)
        self._release(number)
        self._by_cookie[number] = program
        if limited := limits(program):
            self._limits[number] = limited
        self._claimed[number] = (*free, *program.rules)
        for rule in self._claimed[number]:
            self._claims.add(number, rule)

    def _release(self, number: int) -> None:
        self._by_cookie.pop(number, None)
        self._limits.pop(number, None)
        self._bent.pop(number, None)
        for rule in self._claimed.pop(number, ()):
            self._claims.drop(number, rule)

    def effective(self, program: FlowProgram, topology: Topology, gone: Collection[str]) -> FlowProgram:
        """The program as it is to be while these devices are gone: functions are treated as their position says."""
        spec = spec_of(program)
        if not gone or not isinstance(spec, ChainSpec):
            return program
        dead = function_devices(spec).intersection(gone)
        if not dead:
            return program
        number = cookie_of(program)
        why = program, dead, topology
        last = self._bent.get(number)
        if last is None or last[0] != why:
            last = self._bent[number] = why, _bent(program, spec, topology, dead)
        return last[1]


def _arrives(rule: FlowRule) -> bool:
    return any(name == "tunnel_id" for name, _ in rule.match)


def _kept_free(program: FlowProgram, topology: Topology) -> _Rules:
    """What the program may come to receive over links while functions are gone."""
    spec = spec_of(program)
    if not isinstance(spec, ChainSpec):
        return ()
    received = {(rule.host, rule.match) for rule in program.rules if _arrives(rule)}
    found = (arrivals(spec, topology, salt) for salt in _SALTS)
    return next((rules for rules in found if received <= {(rule.host, rule.match) for rule in rules}), ())


def _bent(program: FlowProgram, spec: ChainSpec, topology: Topology, dead: frozenset[str]) -> FlowProgram:
    try:
        salts = (salt for salt in _SALTS if compile_spec(spec, topology, salt=salt).rules == program.rules)
        if (salt := next(salts, None)) is None:
            return program
        return replace(compile_spec(spec, topology, dead=dead, salt=salt), spec_hash=program.spec_hash)
    except DriverError:
        return program
