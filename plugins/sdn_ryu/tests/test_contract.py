"""The SDN conformance kit on a real switch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from manor.api import DriverEnvironment, Sdn, SdnPort
from manor.testing.ovs import PrivateOvs
from manor.testing.sdn_kit import SdnConformance
from manor.testing.sdn_specs import SdnSpecs
from manor_sdn_ryu.driver import RyuSdn

from .conftest import BRIDGE, OWNER, Rig


class OvsSpecs(SdnSpecs):
    """Ports are internal ones of the private switch: nothing but their presence matters to the kit."""

    ovs: PrivateOvs

    def plug(self, ports: Iterable[SdnPort]) -> None:
        argv: list[str] = []
        for port in ports:
            argv += ["--", "--may-exist", "add-port", BRIDGE, port.device]
            argv += ["--", "set", "Interface", port.device, "type=internal"]
        self.ovs.vsctl(*argv[1:])


@pytest.mark.real
class TestContract(SdnConformance):
    @pytest.fixture
    def driver(self, one_rig: Rig) -> Sdn:
        return one_rig.driver

    @pytest.fixture
    def specs(self, one_rig: Rig) -> SdnSpecs:
        OvsSpecs.ovs = one_rig.ovs
        return OvsSpecs(owner=OWNER, hosts=("h1",), settle_s=20)

    @pytest.fixture
    def stranger(self, one_rig: Rig, tmp_path: Path) -> Iterator[Sdn]:
        environment = DriverEnvironment(
            name="s", owner="manor/stranger", state_dir=tmp_path / "other", runtime_dir=tmp_path / "other-run"
        )
        theirs = RyuSdn(one_rig.config, environment)
        yield theirs
        with contextlib.suppress(Exception):
            theirs.shutdown(one_rig.ctx())
