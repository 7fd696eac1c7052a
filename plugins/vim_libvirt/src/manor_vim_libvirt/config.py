"""Settings of a libvirt VIM: a set of hypervisors, credentials by reference only."""

from __future__ import annotations

import os
import platform
import re
from enum import StrEnum
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from manor.errors import UsageError

__all__ = ["Accel", "HostConfig", "LibvirtConfig"]

_LOCAL_OVSDB = "unix:/run/openvswitch/db.sock"


class Accel(StrEnum):
    """How guests run: AUTO finds out by trial whether KVM tells the truth."""

    AUTO = "auto"
    KVM = "kvm"
    TCG = "tcg"


class HostConfig(BaseModel):
    """One hypervisor."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", description="The host's name in Manor.")
    uri: str = Field(min_length=3, description="libvirt URI, as qemu:///system or qemu+ssh://root@host/system.")
    bridge: str = Field(
        default="manor-int", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,14}$", description="Integration bridge."
    )
    ovsdb: str = Field(
        default="", description="Open vSwitch database, as unix:PATH or ssl:HOST:PORT; empty: the local one."
    )
    pool_dir: str = Field(
        default="", pattern=r"^(/[^\n]*)?$", description="Where disks go; empty: below /var/lib/libvirt."
    )
    zone: str = Field(default="", description="Availability zone.")
    labels: dict[str, str] = Field(default_factory=dict, description="For placement rules.")
    username: str = Field(default="", description="SASL user, where the hypervisor asks for one.")
    password_file: Path | None = Field(default=None, description="File that holds the password; closed to others.")
    key_file: Path | None = Field(default=None, description="SSH private key for +ssh, +libssh and +libssh2 URIs.")
    pki_dir: Path | None = Field(
        default=None, description="Directory with cacert.pem, clientcert.pem and clientkey.pem."
    )

    @field_validator("uri")
    @classmethod
    def _no_secret(cls, uri: str) -> str:
        if urlsplit(uri).password is not None:
            raise ValueError("a password may not stand in the URI; use username and password_file")
        return uri

    @property
    def is_local(self) -> bool:
        """Whether the hypervisor is on this machine, as far as its URI says."""
        return not urlsplit(self.uri).hostname

    @property
    def switch_database(self) -> str:
        """Where ``ovs-vsctl`` finds the host's switch; empty where nothing is known."""
        return self.ovsdb or (_LOCAL_OVSDB if self.is_local else "")

    @property
    def connect_uri(self) -> str:
        """The URI with the references that libvirt takes as parameters."""
        parts = urlsplit(self.uri)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        if self.key_file is not None:
            query.setdefault("keyfile", str(self.key_file))
        if self.pki_dir is not None:
            query.setdefault("pkipath", str(self.pki_dir))
        if "+ssh" in parts.scheme:
            query.setdefault("no_tty", "1")  # never wait for a person's answer
        tail = f"?{urlencode(query, safe='/')}" if query else ""
        return f"{parts.scheme}://{parts.netloc}{parts.path}{tail}"  # urlunsplit drops the empty netloc's slashes

    def password(self) -> str:
        """Read the password. Raises UsageError when its file is missing or open to others."""
        if self.password_file is None:
            return ""
        try:
            if os.stat(self.password_file).st_mode & 0o077:
                raise UsageError(
                    f"{self.password_file} (host {self.name}) is open to others",
                    hint=f"chmod 600 {self.password_file}",
                )
            return self.password_file.read_text().rstrip("\n")
        except OSError as error:
            raise UsageError(f"cannot read the password of host {self.name}: {error}") from error


class LibvirtConfig(BaseModel):
    """A libvirt VIM. Give ``hosts``, or ``uri`` for a single one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hosts: tuple[HostConfig, ...] = ()
    accel: Accel = Field(
        default=Accel.AUTO, description="auto tries KVM once per host and remembers; kvm and tcg insist."
    )
    keepalive_s: int = Field(
        default=5, ge=1, le=60, description="A silent hypervisor is given up after three of these."
    )
    trial_s: float = Field(default=6.0, gt=0, le=60, description="How long the tiny guest of the KVM trial may take.")

    @model_validator(mode="before")
    @classmethod
    def _one_host(cls, data: Any) -> Any:
        """``{uri: …}`` with any field of a host stands for one host."""
        if not isinstance(data, dict) or "uri" not in data:
            return data
        own = {name: value for name, value in data.items() if name in cls.model_fields}
        if "hosts" in own:
            raise ValueError("give either hosts or uri, not both")
        host = {name: value for name, value in data.items() if name not in cls.model_fields}
        host.setdefault("name", _host_name(str(data["uri"])))
        return {**own, "hosts": [host]}

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if not self.hosts:
            raise ValueError("at least one host is needed: hosts: [{name, uri}], or uri")
        names = [host.name for host in self.hosts]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"host names must differ: {', '.join(twice)}")
        return self


def _host_name(uri: str) -> str:
    name = urlsplit(uri).hostname or platform.node() or "localhost"
    return re.sub(r"[^A-Za-z0-9._-]", "-", name.split(".")[0])[:63] or "localhost"
