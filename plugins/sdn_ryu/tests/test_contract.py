"""The SDN conformance kit on a real switch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from manor.api import DriverEnvironment, FlowProgram, FlowRule, ResourceKind, Sdn, SdnPort
from manor.testing.ovs import PrivateOvs
from manor.testing.sdn_kit import SdnConformance
from manor.testing.sdn_specs import SdnSpecs
from manor_sdn_ryu.changes import phases
from manor_sdn_ryu.driver import RyuSdn
from manor_sdn_ryu.entries import resolve
from manor_sdn_ryu.facts import devices_of

from .conftest import BRIDGE, OWNER, Rig, end_agent, standing


class OvsSpecs(SdnSpecs):
    """Ports are internal ones of the private switch: nothing but their presence matters to the kit."""

    ovs: PrivateOvs

    def plug(self, ports: Iterable[SdnPort]) -> None:
        argv: list[str] = []
        for port in ports:
            argv += ["--", "--may-exist", "add-port", BRIDGE, port.device]
            argv += ["--", "set", "Interface", port.device, "type=internal"]
        self.ovs.vsctl(*argv[1:])

    def steps(self, before: FlowProgram | None, after: FlowProgram | None) -> Sequence[Sequence[FlowRule]]:
        """What the agent sends, as the switches hold it after each message."""
        programs = [program for program in (before, after) if program]
        ports = {
            device: number for number, device in enumerate(sorted({d for p in programs for _, d in devices_of(p)}), 1)
        }
        told = {e: r for p in programs for e, r in resolve(p, "h1", ports).entries.values()}
        held, wanted = (
            {"h1": {i: e for i, (e, _) in resolve(p, "h1", ports).entries.items()} if p else {}}
            for p in (before, after)
        )
        tables = [dict(held["h1"])]
        for phase in phases(ResourceKind.CHAIN, held, wanted):
            for change in phase.changes["h1"]:
                table = dict(tables[-1])
                table.pop(change.entry.identity, None)
                if not change.delete:
                    table[change.entry.identity] = change.entry
                tables.append(table)
        return [[told[entry] for entry in table.values()] for table in tables]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    yield from standing(tmp_path_factory.mktemp("kit"), "os-ken")


@pytest.mark.real
class TestContract(SdnConformance):
    """All on one switch, as the kit names everything anew for each test, and takes it away."""

    @pytest.fixture
    def driver(self, shared: Rig) -> Sdn:
        return shared.driver

    @pytest.fixture
    def specs(self, shared: Rig) -> SdnSpecs:
        OvsSpecs.ovs = shared.ovs
        return OvsSpecs(owner=OWNER, hosts=("h1",), settle_s=60)

    @pytest.fixture
    def stranger(self, shared: Rig, tmp_path: Path) -> Iterator[Sdn]:
        environment = DriverEnvironment(
            name="s", owner="manor/stranger", state_dir=tmp_path / "other", runtime_dir=tmp_path / "other-run"
        )
        theirs = RyuSdn(shared.config, environment)
        yield theirs
        with contextlib.suppress(Exception):
            theirs.shutdown(shared.ctx())
        end_agent(environment)
