"""A Manor SDN controller for segments and service function chains, on Ryu (or os-ken) and Open vSwitch.

The driver compiles (:mod:`manor_sdn_ryu.compile`), an agent process of its own keeps the switches as compiled
(:mod:`manor_sdn_ryu.controller`); the rules are explained in :mod:`manor_sdn_ryu.pipeline`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from manor.api import CallContext, DoctorCheck, DriverEnvironment, Finding, Sdn, SdnDriver, hookimpl

__all__ = ["manor_doctor_checks", "manor_sdn_drivers"]


def _connect(config: Any, environment: DriverEnvironment) -> Sdn:
    from manor_sdn_ryu.driver import RyuSdn

    return RyuSdn(config, environment)


def _libraries(ctx: CallContext) -> Iterable[Finding]:
    from manor_sdn_ryu.doctor import check_libraries

    return check_libraries(ctx)


def _switch(ctx: CallContext) -> Iterable[Finding]:
    from manor_sdn_ryu.doctor import check_switch

    return check_switch(ctx)


@hookimpl
def manor_sdn_drivers() -> Iterator[SdnDriver]:
    """The Ryu controller."""
    from manor_sdn_ryu.config import RyuConfig

    yield SdnDriver(
        name="ryu", summary="Ryu or os-ken on Open vSwitch: segments and chains", config=RyuConfig, connect=_connect
    )


@hookimpl
def manor_doctor_checks() -> Iterator[DoctorCheck]:
    """Does the controller library run, does the switch answer."""
    yield DoctorCheck(name="ryu", summary="Ryu or os-ken can be loaded", check=_libraries)
    yield DoctorCheck(name="open-vswitch", summary="Open vSwitch answers and knows OpenFlow 1.3", check=_switch)
