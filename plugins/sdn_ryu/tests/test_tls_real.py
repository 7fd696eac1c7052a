"""Switches reached over TLS, on both libraries: who is believed, and who is sent away with the reason."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manor.api import CallContext, DriverEnvironment, Host, Phase, SdnPort
from manor.errors import DriverError, Permanent, Transient, Unauthorized
from manor.testing.ovs import PrivateOvs, missing_for_ovs
from manor.testing.ports import free_port
from manor_sdn_ryu.config import RyuConfig
from manor_sdn_ryu.driver import RyuSdn
from manor_sdn_ryu.tls import Credentials

from .conftest import OWNER, end_agent, eventually, segment

pytestmark = pytest.mark.real


class Authority:
    """A CA of our own, with certificates as ``ovs-pki`` makes them: without host names."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(mode=0o700)
        self._openssl("req", "-x509", *_NEW, "-keyout", "ca.key", "-out", "ca.pem", "-subj", f"/CN=ca {directory.name}")

    def _openssl(self, *argv: str) -> None:
        subprocess.run(["openssl", *argv], cwd=self.directory, check=True, capture_output=True)

    def certify(self, name: str) -> tuple[Path, Path]:
        """A key and its certificate."""
        key, request, certificate = (self.directory / f"{name}.{end}" for end in ("key", "csr", "pem"))
        self._openssl("req", *_NEW, "-keyout", str(key), "-out", str(request), "-subj", f"/CN={name}")
        self._openssl(
            "x509", "-req", "-in", str(request), "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-out", str(certificate),
        )  # fmt: skip
        return key, certificate

    def client(self, name: str, *, believes: Authority | None = None) -> Path:
        """A ``pki_dir``."""
        key, certificate = self.certify(name)
        made = self.directory / f"{name}.d"
        made.mkdir()
        key.rename(made / "clientkey.pem")
        certificate.rename(made / "clientcert.pem")
        (made / "cacert.pem").write_bytes(((believes or self).directory / "ca.pem").read_bytes())
        (made / "clientkey.pem").chmod(0o600)
        return made


_NEW = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Remote:
    """A switch on this machine's loopback that is reached as if it were on another one."""

    def __init__(self, ovs: PrivateOvs, authority: Authority) -> None:
        self.ovs = ovs
        self.authority = authority
        self.bridge = f"mt-{secrets.token_hex(4)}"
        key, certificate = authority.certify("switch")
        ovs.vsctl("set-ssl", str(key), str(certificate), str(authority.directory / "ca.pem"))
        ovs.add_bridge(self.bridge)
        self.openflow, self.plain, self.ovsdb = (free_port() for _ in range(3))
        ovs.vsctl(
            "set-controller", self.bridge, f"pssl:{self.openflow}:127.0.0.1", f"ptcp:{self.plain}:127.0.0.1",
            "--", "set-manager", f"pssl:{self.ovsdb}:127.0.0.1",
        )  # fmt: skip

    @property
    def datapath_id(self) -> str:
        return self.ovs.vsctl("get", "Bridge", self.bridge, "datapath_id").strip('"')

    def settings(self, **more: Any) -> dict[str, Any]:
        return {
            "host": "far", "bridge": self.bridge, "ovsdb": f"ssl:127.0.0.1:{self.ovsdb}",
            "openflow": f"ssl:127.0.0.1:{self.openflow}", **more,
        }  # fmt: skip


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Remote]:
    if reason := missing_for_ovs():
        pytest.skip(reason)
    with PrivateOvs(netns=False) as ovs:
        made = Remote(ovs, Authority(tmp_path / "ours"))
        yield made
    # A switch that was ended before it had time to let go of its devices leaves them, here in everybody's namespace.
    for device in (made.bridge, f"{made.bridge}1", f"{made.bridge}2"):
        subprocess.run(["ip", "link", "del", device], capture_output=True)


@contextlib.contextmanager
def controller(directory: Path, runtime: str, **settings: Any) -> Iterator[RyuSdn]:
    environment = DriverEnvironment(name="t", owner=OWNER, state_dir=directory / "state", runtime_dir=directory / "run")
    for made in (environment.state_dir, environment.runtime_dir):
        made.mkdir(mode=0o700, parents=True)
    try:
        yield RyuSdn(RyuConfig.model_validate({"runtime": runtime, "settle_s": 0.05, **settings}), environment)
    finally:
        end_agent(environment)


def ctx(seconds: float = 30.0) -> CallContext:
    return CallContext.within(seconds)


def host(driver: RyuSdn) -> Host:
    return driver.capabilities(ctx()).hosts[0]


@pytest.mark.parametrize("runtime", ["ryu", "os-ken"])
def test_a_segment_is_laid_over_tls_and_rogues_are_refused(remote: Remote, tmp_path: Path, runtime: str) -> None:
    ours = remote.authority.client("manor")
    ports = [
        SdnPort(key=f"k{n}", host="far", device=f"{remote.bridge}{n}", mac=f"02:00:00:00:00:0{n}",
                addresses=(f"10.0.0.{n}",)) for n in (1, 2)
    ]  # fmt: skip
    for port in ports:
        remote.ovs.vsctl("add-port", remote.bridge, port.device, "--", "set", "Interface", port.device, "type=internal")
    remote.ovs.ofctl("add-flow", remote.bridge, "table=9,cookie=0x5,actions=drop")
    good = remote.settings(pki_dir=str(ours), datapath_id=remote.datapath_id)
    with controller(tmp_path / "good", runtime, **good) as driver:
        lan = segment(*ports)
        assert driver.apply(driver.compile(lan, driver.topology(ctx())), ctx()).phase is Phase.ACTIVE
        assert len(remote.ovs.flows(remote.bridge)) > 10
        assert any("cookie=0x5," in flow for flow in remote.ovs.flows(remote.bridge))

        remote.ovs.stop_vswitchd()
        remote.ovs.vsctl("--no-wait", "set-ssl", *_stranger(tmp_path))
        remote.ovs.start_vswitchd()
        eventually(lambda: "certificate is refused" in host(driver).reason, "a switch of another CA is sent away")
        assert host(driver).reachable is False
    assert remote.ovs.flows(remote.bridge) == []


def _stranger(directory: Path) -> list[str]:
    other = Authority(directory / "theirs")
    key, certificate = other.certify("switch")
    return [str(key), str(certificate), str(other.directory / "ca.pem")]


@pytest.mark.parametrize(("runtime", "scheme"), [("ryu", "ssl"), ("os-ken", "ssl"), ("os-ken", "tcp")])
def test_a_switch_with_an_unknown_datapath_id_is_refused(
    remote: Remote, tmp_path: Path, runtime: str, scheme: str
) -> None:
    port = remote.openflow if scheme == "ssl" else remote.plain
    rogue = remote.settings(pki_dir=str(remote.authority.client("manor")), datapath_id="00000000000000aa")
    with controller(tmp_path / "t", runtime, **{**rogue, "openflow": f"{scheme}:127.0.0.1:{port}"}) as driver:
        eventually(lambda: "refused" in host(driver).reason, "it is refused")
        seen = host(driver)
    assert seen.reachable is False
    assert f"it has datapath id {remote.datapath_id} where 00000000000000aa was expected" in seen.reason
    assert remote.ovs.flows(remote.bridge) == []


def test_a_stranger_is_refused_by_the_switch_and_told_so(remote: Remote, tmp_path: Path) -> None:
    other = Authority(tmp_path / "theirs").client("manor", believes=remote.authority)
    local = {**remote.settings(pki_dir=str(other)), "ovsdb": remote.ovs.ovsdb}
    with controller(tmp_path / "of", "os-ken", **local) as driver:
        eventually(lambda: "it refuses our certificate" in host(driver).reason, "the alert is told")
    by_database = remote.settings(pki_dir=str(other))
    with (
        controller(tmp_path / "db", "os-ken", **by_database) as driver,
        pytest.raises((Transient, Permanent), match="host far"),
    ):
        driver.capabilities(ctx())


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    pki = Authority(tmp_path / "ca").client("manor")
    (pki / "clientkey.pem").chmod(0o644)
    with pytest.raises(Unauthorized, match=r"clientkey\.pem is open to others") as caught:
        Credentials(directory=pki).check()
    assert "chmod 600" in caught.value.hint
    (pki / "clientkey.pem").unlink()
    with pytest.raises(DriverError, match=r"clientkey\.pem is not there"):
        Credentials(directory=pki).context()
