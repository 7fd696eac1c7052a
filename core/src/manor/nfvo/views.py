"""A VNF as its manager sees it, with values of other VNFs where its package or its parameters ask for them. Pure.

Addresses are made by core before anything runs, so a value needs no order: ``vnfs.db.addresses.eth`` is the list of the
addresses behind the external CP ``eth`` of the VNF ``db``, machine by machine, without prefix length. It may stand in
boot data and day-1 commands, and in a parameter: ``--param 'peer={{ vnfs.db.addresses.eth[0] }}'``. In a nested service
its own VNFs go by the names that its descriptors know, and those of the services around it by theirs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from manor.api.vnfm import VnfcView, VnfView
from manor.errors import PlanRefused
from manor.nfvo.request import ServiceRequest
from manor.vnfm.members import Vnf
from manor.vnfm.rendering import render

__all__ = ["peers", "vnf_view"]

_ASKS = re.compile(r"\{[{%][^}]*\bvnfs\b")
"""Text that wants to know of the other VNFs. Who does not ask is not told: no check of his changes with them."""

_HIDDEN = "@secret:"
"""How the token of a secret begins, see ``manor.secrets``."""


def peers(vnfs: Sequence[Vnf], addresses: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """By VNF name, what others may know of it; ``addresses`` are by port key."""
    return {
        vnf.name: {
            "addresses": {
                cpd: [text.split("/")[0] for port in vnf.ports_of(cpd) for text in addresses.get(port.key, ())]
                for cpd in dict.fromkeys(port.ext_cpd for vnfc in vnf.vnfcs for port in vnfc.ports if port.ext_cpd)
            }
        }
        for vnf in vnfs
    }


def vnf_view(
    request: ServiceRequest, vnf: Vnf, addresses: Mapping[str, tuple[str, ...]], others: Mapping[str, Any]
) -> VnfView:
    """The view of one VNF. Raises PlanRefused where a parameter or a command names a value that there is not."""
    others = _in_scope(vnf.name, others)
    given: dict[str, Any] = {
        **vnf.profile.parameters,
        **request.ns.parameters,
        **request.properties.get(vnf.name, {}),
    }
    parameters = {name: _resolved(f"parameter {name}", value, vnf, {"vnfs": others}) for name, value in given.items()}
    templates = {vdu.id: vdu.boot_data for vdu in vnf.df.vdus if vdu.boot_data}
    commands = {vdu.id: vdu.day1 for vdu in vnf.df.vdus if vdu.day1}
    values = {**parameters, "vnfs": others}
    if any(_ASKS.search(text) for text in templates.values()):
        parameters["vnfs"] = others
    return VnfView(
        id=vnf.key,
        name=vnf.name,
        service=request.ns.name,
        vnfd_id=vnf.vnfd.id,
        flavour_id=vnf.df.id,
        vnfcs=tuple(
            VnfcView(
                key=vnfc.key,
                name=vnfc.name,
                vdu_id=vnfc.vdu.id,
                index=vnfc.index,
                addresses={port.cpd.id: addresses.get(port.key, ()) for port in vnfc.ports},
            )
            for vnfc in vnf.vnfcs
        ),
        parameters=parameters,
        boot_templates=templates,
        day1={
            vdu: tuple(tuple(_word(f"day 1 of VDU {vdu}", word, vnf, values) for word in argv) for argv in argvs)
            for vdu, argvs in commands.items()
        },
    )


def _in_scope(name: str, others: Mapping[str, Any]) -> dict[str, Any]:
    """The others as this VNF's package may name them: ``east.db`` is ``db`` too for what is nested in ``east``."""
    seen = dict(others)
    parts = name.split(".")
    for depth in range(1, len(parts)):
        scope = ".".join(parts[:depth]) + "."
        seen |= {other.removeprefix(scope): one for other, one in others.items() if other.startswith(scope)}
    return seen


def _word(what: str, word: str, vnf: Vnf, values: Mapping[str, Any]) -> str:
    """A word of a command, where it names a value that there is with that filled in; others' braces stay as they are.

    Raises PlanRefused where a secret would come to stand in a command line, which all in the machine can read.
    """
    named = [name for name in values if re.search(rf"\{{[{{%][^}}]*(?<![\w.]){re.escape(name)}\b", word)]
    if any(_HIDDEN in str(values[name]) for name in named):
        raise PlanRefused(
            f"{what} of {vnf.name}: a secret cannot stand in a command line",
            hint="have the package take it from its boot data or a script's input",
        )
    return _rendered(what, word, vnf, values) if named else word


def _resolved(what: str, value: Any, vnf: Vnf, values: Mapping[str, Any]) -> Any:
    """The value, with what it asks of other VNFs filled in; a string alone can ask."""
    if isinstance(value, Mapping):
        return {name: _resolved(f"{what}.{name}", one, vnf, values) for name, one in value.items()}
    return _rendered(what, value, vnf, values) if isinstance(value, str) and _ASKS.search(value) else value


def _rendered(what: str, value: str, vnf: Vnf, values: Mapping[str, Any]) -> str:
    try:
        return render(value, values)
    except PlanRefused as error:
        known = ", ".join(values["vnfs"])
        raise PlanRefused(f"{what} of {vnf.name}: {error.message}", hint=f"vnfs there are: {known}") from error
