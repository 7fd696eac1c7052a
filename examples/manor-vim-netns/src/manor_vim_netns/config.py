"""Settings, shown by ``manor plugin show vim-netns``."""

import platform
import re

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["NetnsConfig"]


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", platform.node().split(".")[0])[:63] or "localhost"


class NetnsConfig(BaseModel):
    """This machine as a VIM of namespaces."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(
        default_factory=_host, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", description="The host's name in Manor."
    )
    bridge: str = Field("manor-int", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,14}$", description="Integration bridge.")
    ovsdb: str = Field("unix:/run/openvswitch/db.sock", pattern=r"^unix:\S+$", description="Open vSwitch's database.")
