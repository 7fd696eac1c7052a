"""Settings of a Ryu controller: which switches, and which library the agent runs on."""

from __future__ import annotations

import ipaddress
import platform
import re
from pathlib import Path, PurePosixPath
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from manor_sdn_ryu.runtime import Runtime

__all__ = ["RyuConfig", "SwitchConfig"]

_LOCAL_OVSDB = "unix:/run/openvswitch/db.sock"
_SHORT = ("host", "ovsdb", "bridge", "openflow", "pki_dir", "datapath_id", "underlay", "underlay_mtu")


class SwitchConfig(BaseModel):
    """The integration bridge of one host."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", description="The host's name in Manor, as its VIM's."
    )
    ovsdb: str = Field(
        _LOCAL_OVSDB,
        pattern=r"^(unix|tcp|ssl):[^\s]+$",
        description="Database: unix:PATH, ssl:HOST:PORT or tcp:HOST:PORT.",
    )
    bridge: str = Field("manor-int", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,14}$", description="Integration bridge.")
    openflow: str = Field(
        "",
        pattern=r"^((unix|tcp|ssl):[^\s]+)?$",
        description="Where the switch listens for OpenFlow; empty: BRIDGE.mgmt beside a unix: database.",
    )
    pki_dir: Path | None = Field(
        None, description="For ssl: addresses, a directory with cacert.pem, clientcert.pem and clientkey.pem."
    )
    datapath_id: str = Field("", pattern=r"^([0-9a-f]{16})?$", description="Refuse any other; empty: take any.")
    underlay: str = Field("", description="IP address by which other hosts reach it for tunnels; empty: no tunnels.")
    underlay_mtu: int = Field(1500, ge=1280, le=65535, description="MTU of the network between the hosts.")

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if not self.openflow and not self.ovsdb.startswith("unix:"):
            raise ValueError(f"host {self.host}: with a remote database say where its switch listens (openflow: ssl:…)")
        if "ssl:" in (self.ovsdb[:4], self.openflow[:4]) and self.pki_dir is None:
            raise ValueError(f"host {self.host}: an ssl: address needs pki_dir")
        return self

    @field_validator("pki_dir")
    @classmethod
    def _from_the_root(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_absolute():
            raise ValueError("give the whole path: the agent works elsewhere")
        return value

    @field_validator("underlay")
    @classmethod
    def _an_address(cls, value: str) -> str:
        return str(ipaddress.ip_address(value)) if value else ""

    @property
    def run_directory(self) -> str:
        """Open vSwitch's run directory; empty where it is on another machine."""
        return str(PurePosixPath(self.ovsdb.removeprefix("unix:")).parent) if self.ovsdb.startswith("unix:") else ""

    @property
    def openflow_address(self) -> str:
        """Where the agent dials."""
        return self.openflow or f"unix:{self.run_directory}/{self.bridge}.mgmt"


class RyuConfig(BaseModel):
    """A Ryu controller. Give ``switches``, or the fields of a single one; nothing at all means this machine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    switches: tuple[SwitchConfig, ...] = ()
    runtime: Runtime = Field(Runtime.RYU, description="ryu, or os-ken, its maintained fork.")
    start_timeout_s: float = Field(30.0, gt=0, le=300, description="How long the agent may take to start.")
    settle_s: float = Field(0.3, ge=0, le=10, description="Pause for frames inside functions before old rules go.")
    audit_s: float = Field(
        2.0, ge=0, le=3600, description="How often rules are compared, and put right where altered by hand; 0: never."
    )

    @model_validator(mode="before")
    @classmethod
    def _one_switch(cls, data: Any) -> Any:
        """``{bridge: …}`` with any field of a switch stands for one switch; no switch for this machine's."""
        if not isinstance(data, dict) or data.get("switches"):
            if isinstance(data, dict) and any(name in data for name in _SHORT):
                raise ValueError("give either switches or the fields of one switch, not both")
            return data
        switch = {name: data[name] for name in _SHORT if name in data}
        switch.setdefault("host", _host_name())
        return {**{name: value for name, value in data.items() if name not in _SHORT}, "switches": [switch]}

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [switch.host for switch in self.switches]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"host names must differ: {', '.join(twice)}")
        underlays = [switch.underlay for switch in self.switches if switch.underlay]
        if twice := sorted({address for address in underlays if underlays.count(address) > 1}):
            raise ValueError(f"underlay addresses must differ: {', '.join(twice)}")
        return self


def _host_name() -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", platform.node().split(".")[0])[:63] or "localhost"
