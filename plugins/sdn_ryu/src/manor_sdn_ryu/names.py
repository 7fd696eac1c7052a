"""Ports in people's words. Devices are called ``mp4f9a…``, which says nothing to who reads a counter or a trace.

Where core made the port for a VNF its key says which (``<service>/vnf/<vnf>/<machine>/<CP>``); else the device's own
name is the best there is. Pure, and for notes only: nothing is decided by it.
"""

from __future__ import annotations

import re

from manor.api import SdnPort

__all__ = ["word"]

_OF_A_VNF = re.compile(r"^[^/]+/vnf/([^/]+)(?:/.*?-([1-9]\d*))?(?:/|$)")


def word(port: SdnPort, position: str = "") -> str:
    """The VNF's name, with its machine's number where it is not the first; ``position`` helps where there is none."""
    found = _OF_A_VNF.match(port.key)
    if found is None:
        return f"{position} ({port.device})" if position else port.device
    return f"{found[1]}[{found[2]}]" if found[2] else found[1]
