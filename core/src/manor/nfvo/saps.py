"""Where a service is attached from outside: SAPs (sapd) to ports of the hosts' switches, as its parameters say. Pure.

``sap.<name>`` of the service's parameters is ``{host, device}`` of a port that is on the host's integration bridge (a
network card, a veth), with ``vlan`` where the outside is one VLAN of it. Whatever is behind it is unknown; where it is
one machine, ``mac`` and ``addresses`` say which, and nothing else may then come in.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from manor.api.resources import SdnPort
from manor.errors import UsageError
from manor.model.soundness import MAC
from manor.nfvo.request import ServiceRequest
from manor.vnfm.members import slug

__all__ = ["PARAMETER", "attached"]

PARAMETER = "sap"
_KEYS = ("host", "device", "vlan", "mac", "addresses")
_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def attached(request: ServiceRequest) -> dict[str, SdnPort]:
    """The port of each SAP that the parameters attach, by SAP id. Raises UsageError for what cannot be meant."""
    given = request.ns.parameters.get(PARAMETER)
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise UsageError(f"parameter sap is {given!r}, not SAPs by name", hint=_usage("NAME"))
    known = {sapd.id: sapd for sapd in request.nsd.sapds}
    found = {}
    for name, value in given.items():
        if name not in known:
            names = ", ".join(known) or "none"
            raise UsageError(f"parameter sap.{name}: NSD {request.nsd.id} has no such SAP", hint=f"it has: {names}")
        if not known[name].virtual_link:
            what = "a VNF's connection point, and needs no port" if known[name].cpd else "on no virtual link"
            raise UsageError(f"parameter sap.{name}: this SAP is {what}")
        found[name] = _port(f"{request.ns.id}/sap/{slug(name)}", name, value)
    return found


def _port(key: str, name: str, value: Any) -> SdnPort:
    unknown = [field for field in value if field not in _KEYS] if isinstance(value, Mapping) else ["it"]
    if unknown:
        raise UsageError(f"parameter sap.{name}: {unknown[0]} is not understood", hint=_usage(name))
    host, device, mac = (str(value.get(field, "")) for field in ("host", "device", "mac"))
    vlan = value.get("vlan", 0)
    addresses = value.get("addresses", ())
    texts = (
        [addresses] if isinstance(addresses, str) else list(addresses) if isinstance(addresses, list | tuple) else []
    )
    for field, text, pattern in (("host", host, _HOST), ("device", device, _DEVICE), ("mac", mac.lower(), MAC)):
        if (text or field != "mac") and not pattern.fullmatch(text):
            raise UsageError(f"parameter sap.{name}.{field}: {text!r} is none", hint=_usage(name))
    if isinstance(vlan, bool) or not isinstance(vlan, int) or not 0 <= vlan <= 4094:
        raise UsageError(f"parameter sap.{name}.vlan: {vlan!r} is not a number from 1 to 4094", hint=_usage(name))
    try:
        plain = tuple(str(ipaddress.ip_interface(str(text)).ip) for text in texts)
    except ValueError as error:
        raise UsageError(f"parameter sap.{name}.addresses: {error}", hint=_usage(name)) from error
    if plain and not mac:
        raise UsageError(f"parameter sap.{name}: addresses are those of one machine, whose mac is needed too")
    return SdnPort(key=key, host=host, device=device, mac=mac.lower(), addresses=plain, vlan=vlan)


def _usage(name: str) -> str:
    return f"--param sap.{name}.host=HOST --param sap.{name}.device=eth1 --param sap.{name}.vlan=100"
