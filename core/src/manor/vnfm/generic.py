"""The generic VNF manager: cloud-init for day 0, commands by guest agent for day 1, the agent's word for health.

It serves every VNFD whose ``vnfm_info`` names no other manager.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from manor.api.context import CallContext, DriverEnvironment
from manor.api.hooks import hookimpl
from manor.api.records import VnfmDriver
from manor.api.vnfm import BootData, Guest, Health, Script, VnfcView, VnfView
from manor.errors import DriverError, Permanent, PlanRefused, Unsupported
from manor.vnfm.rendering import render

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["GenericVnfm", "manor_vnfm_drivers"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class GenericVnfm:
    """A Vnfm for any VNF that boots with cloud-init and, best, runs a guest agent."""

    def boot_data(self, vnf: VnfView, vnfc: VnfcView) -> BootData:
        """The package's user-data; a Jinja2 template (OSM's convention) is rendered with the VNF's parameters.

        Raises PlanRefused where the template is broken or asks for a parameter that is not given.
        """
        template = vnf.boot_templates.get(vnfc.vdu_id, "")
        values = {
            **vnf.parameters,
            "vnf_name": vnf.name,
            "vnfc_name": vnfc.name,
            "vnfc_index": vnfc.index,
            "addresses": {name: list(addresses) for name, addresses in vnfc.addresses.items()},
        }
        try:
            return BootData(user_data=render(template, values))
        except PlanRefused as error:
            raise PlanRefused(
                f"boot data of {vnf.name}, VDU {vnfc.vdu_id}: {error.message}",
                hint="give the value with --param NAME=VALUE",
            ) from error

    def configure(self, vnf: VnfView, guests: Mapping[str, Guest], ctx: CallContext) -> None:
        """Run the package's day-1 commands in each machine. Raises Permanent where one exits non-zero."""
        for vnfc in vnf.vnfcs:
            for argv in vnf.day1.get(vnfc.vdu_id, ()):
                result = guests[vnfc.key].run(argv, ctx)
                if result.exit_code != 0:
                    said = (result.stderr or result.stdout).decode(errors="replace").strip()[:200]
                    raise Permanent(
                        f"{vnfc.name}: {argv[0]} exited {result.exit_code}: {said}",
                        hint=f"manor vnf console {vnfc.name}",
                    )

    def runs(self, kind: str) -> bool:
        """Shell scripts, inside the machines."""
        return _interpreter(kind) is not None

    def run_script(self, vnf: VnfView, guests: Mapping[str, Guest], script: Script, ctx: CallContext) -> None:
        """Give the script to its interpreter in each machine; parameters are in its environment.

        A name that is none for a shell, or a value that is no text, number or truth, is left out. Raises Permanent
        where it exits non-zero.
        """
        argv = _interpreter(script.kind)
        if argv is None:
            raise Unsupported(f"script {script.name}: {script.kind} is not run inside machines", capability="script")
        values = {**script.parameters, "MANOR_SERVICE": vnf.service, "MANOR_VNF": vnf.name}
        for vnfc in vnf.vnfcs:
            if vnfc.key not in guests or script.vdu_id not in ("", vnfc.vdu_id):
                continue
            given = {**values, "MANOR_VNFC": vnfc.name, "MANOR_INDEX": str(vnfc.index)}
            result = guests[vnfc.key].run(argv, ctx, stdin=_with_values(given) + _whole(script.content))
            if result.exit_code != 0:
                said = (result.stderr or result.stdout).decode(errors="replace").strip()[:200]
                raise Permanent(
                    f"{vnfc.name}: {script.name} exited {result.exit_code}: {said}",
                    hint=f"manor vnf console {vnfc.name}",
                )

    def health(self, vnf: VnfView, guests: Mapping[str, Guest], ctx: CallContext) -> Health:
        """Ready when the agent in every machine that has one answers."""
        checks, why = {}, ""
        for vnfc in vnf.vnfcs:
            guest = guests.get(vnfc.key)
            if guest is None:
                continue
            try:
                checks[vnfc.key] = guest.ping(ctx)
            except DriverError as error:
                # Not reachable is not healthy.
                checks[vnfc.key] = False
                why = why or f": {error.message}"
        silent = sorted(key.rsplit("/", 1)[-1] for key, answered in checks.items() if not answered)
        reason = f"no answer from {', '.join(silent)}{why}" if silent else ""
        return Health(ready=not silent, reason=reason, checks=checks)

    def quiesce(self, vnf: VnfView, guests: Mapping[str, Guest], ctx: CallContext) -> None:
        """Nothing to drain in a VNF that is not known further; the VIM shuts machines down."""

    def close(self) -> None:
        """Nothing is held."""


def _interpreter(kind: str) -> tuple[str, ...] | None:
    """What reads a script of this kind from its standard input."""
    low = kind.lower()
    if low.endswith((".bash", ".sh", "shell")) or low in ("sh", "bash"):
        return ("/bin/sh", "-s")
    return None  # Python in a package is, by custom, a driver for the manager's own host


def _with_values(values: Mapping[str, Any]) -> bytes:
    """The parameters, ahead of the script: they appear in no list of processes."""
    named = {
        name: str(value)
        for name, value in values.items()
        if _NAME.fullmatch(name) and isinstance(value, str | int | float)
    }
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in named.items()).encode()


def _whole(script: str) -> bytes:
    """The script as one command: nothing of it is run before all of it is there, and what it runs reads none of it."""
    return f"{{ :\n{script}\n}} </dev/null\n".encode()


def _config() -> type[BaseModel]:
    from pydantic import BaseModel

    class GenericConfig(BaseModel, frozen=True, extra="forbid"):
        """The generic manager has no settings."""

    return GenericConfig


def _connect(config: object, environment: DriverEnvironment) -> GenericVnfm:  # noqa: ARG001 - the record's signature
    return GenericVnfm()


@hookimpl
def manor_vnfm_drivers() -> Iterable[VnfmDriver]:
    """The generic manager, by the same door as any other."""
    yield VnfmDriver(name="generic", summary="cloud-init and guest agent", config=_config(), connect=_connect)
