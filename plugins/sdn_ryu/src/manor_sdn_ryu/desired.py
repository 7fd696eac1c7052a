"""What is to be true now: the programs, those that are leaving, and what they come to while machines are gone."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from manor.api import FlowProgram, SwitchLink, Topology
from manor.errors import Transient
from manor_sdn_ryu.facts import cookie_of, facts, hosts_of
from manor_sdn_ryu.inherited import Inherited
from manor_sdn_ryu.programs import Programs
from manor_sdn_ryu.store import Store
from manor_sdn_ryu.switches import Switches

__all__ = ["Desired"]


class Desired:
    """Keeps no lock; its owner does."""

    def __init__(self, store: Store, switches: Switches) -> None:
        self.programs = Programs(store)
        self.owners: set[str] = set()
        """Whose entries are ours to keep, also where no program of theirs is left."""
        self.links: tuple[SwitchLink, ...] = ()
        self.leaving: set[int] = set()
        """Programs that are to go, and stay known (and observed) until every switch has let go of them."""
        self.inherited = Inherited()
        self._switches = switches

    def topology(self) -> Topology:
        """For the compiler, which asks for links only."""
        return Topology(switches=(), links=self.links)

    def relink(self, links: tuple[SwitchLink, ...]) -> None:
        """These are the links from now on."""
        if links != self.links:
            self.links = links
            self.programs.relink(self.topology())

    def all_owners(self) -> list[str]:
        """Every owner, in a fixed order."""
        return sorted({*self.owners, *(program.owner for program in self.programs)})

    def stays(self, program: FlowProgram) -> bool:
        """Whether the program is to be in the switches, rather than on its way out."""
        return cookie_of(program) not in self.leaving

    def effective(self, program: FlowProgram) -> FlowProgram:
        """The program as it is to be while some of its ports are gone; as given while a switch of it is away."""
        gone: set[str] = set()
        for host, devices in facts(program).devices.items():
            try:
                gone |= devices.difference(self._switches.session(host).ports)
            except Transient:
                return program
        return self.programs.effective(program, self.topology(), gone) if gone else program

    def bury(self, gone: Collection[str] = ()) -> None:
        """Forget the leaving programs whose every switch is here or ``gone``: converging took their rules out."""
        for number in list(self.leaving):
            hosts = hosts_of(self.programs.get(number)) or self._switches.hosts()
            if self._all_here(hosts.difference(gone)):
                self.leaving.discard(number)
                self.inherited.settle(number)
                self.programs.drop(number)

    def _all_here(self, hosts: Iterable[str]) -> bool:
        keepers = [self._switches.get(host) for host in hosts]
        return all(keeper is None or keeper.ready.is_set() for keeper in keepers)
