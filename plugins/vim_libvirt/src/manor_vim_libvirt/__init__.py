"""A Manor VIM on libvirt hosts: QEMU machines on Open vSwitch, on this machine or others.

This module only registers; libvirt and XML are imported when something is connected.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from manor.api import DoctorCheck, DriverEnvironment, VimDriver, hookimpl

if TYPE_CHECKING:
    from manor.api import Vim

__all__ = ["manor_doctor_checks", "manor_vim_drivers"]

_REPLACE_ON = frozenset(
    {f"node.{name}" for name in ("vcpus", "memory_bytes", "firmware", "boot", "disks", "ports", "cpu", "user_data")}
    | {"node.seed", "node.guest_agent", "node.watchdog", "volume.size_bytes", "volume.image", "volume.name"}
    | {"image.sha256", "image.format", "image.size_bytes", "image.name"}
)


def _connect(config: Any, env: DriverEnvironment) -> Vim:
    from manor_vim_libvirt.driver import LibvirtVim

    return LibvirtVim(config, env)


@hookimpl
def manor_vim_drivers() -> Iterable[VimDriver]:
    """The ``libvirt`` kind of VIM."""
    from manor_vim_libvirt.config import LibvirtConfig

    yield VimDriver(
        name="libvirt",
        summary="QEMU/KVM machines by libvirt, on Open vSwitch",
        config=LibvirtConfig,
        connect=_connect,
        replace_on=_REPLACE_ON,
    )


@hookimpl
def manor_doctor_checks() -> Iterable[DoctorCheck]:
    """Checks of this machine as a hypervisor."""
    from manor_vim_libvirt.doctor import checks

    yield from checks()
