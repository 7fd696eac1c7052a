"""The generic VNF manager: cloud-init for day 0, commands by guest agent for day 1, the agent's word for health.

It serves every VNFD whose ``vnfm_info`` names no other manager.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from manor.api.context import CallContext, DriverEnvironment
from manor.api.hooks import hookimpl
from manor.api.records import VnfmDriver
from manor.api.vnfm import BootData, Guest, Health, VnfcView, VnfView
from manor.errors import DriverError, Permanent, PlanRefused

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["GenericVnfm", "manor_vnfm_drivers"]


class GenericVnfm:
    """A Vnfm for any VNF that boots with cloud-init and, best, runs a guest agent."""

    def boot_data(self, vnf: VnfView, vnfc: VnfcView) -> BootData:
        """The package's user-data; a Jinja2 template (OSM's convention) is rendered with the VNF's parameters.

        Raises PlanRefused where the template is broken or asks for a parameter that is not given.
        """
        template = vnf.boot_templates.get(vnfc.vdu_id, "")
        if "{{" not in template and "{%" not in template:
            return BootData(user_data=template)
        import jinja2
        import jinja2.sandbox

        # Packages are hostile input: no attribute access to internals, no loaders, no undefined values.
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            undefined=jinja2.StrictUndefined,
            autoescape=False,
            keep_trailing_newline=True,
        )
        values = {
            **vnf.parameters,
            "vnf_name": vnf.name,
            "vnfc_name": vnfc.name,
            "vnfc_index": vnfc.index,
            "addresses": {name: list(addresses) for name, addresses in vnfc.addresses.items()},
        }
        try:
            return BootData(user_data=environment.from_string(template).render(values))
        # A template is a stranger's program: it may divide by zero as well as misspell a name.
        except Exception as error:
            raise PlanRefused(
                f"boot data of {vnf.name}, VDU {vnfc.vdu_id}: {error}",
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

    def health(self, vnf: VnfView, guests: Mapping[str, Guest], ctx: CallContext) -> Health:
        """Ready when the agent in every machine that has one answers."""
        checks = {}
        for vnfc in vnf.vnfcs:
            guest = guests.get(vnfc.key)
            if guest is None:
                continue
            try:
                checks[vnfc.key] = guest.ping(ctx)
            except DriverError:
                # Not reachable is not healthy; why is the VIM's to say.
                checks[vnfc.key] = False
        silent = sorted(key.rsplit("/", 1)[-1] for key, answered in checks.items() if not answered)
        return Health(ready=not silent, reason=f"no answer from {', '.join(silent)}" if silent else "", checks=checks)

    def quiesce(self, vnf: VnfView, guests: Mapping[str, Guest], ctx: CallContext) -> None:
        """Nothing to drain in a VNF that is not known further; the VIM shuts machines down."""

    def close(self) -> None:
        """Nothing is held."""


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
