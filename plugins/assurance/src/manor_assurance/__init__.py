"""Manor's assurance plugin: detectors that learn what is normal for a VNF, and a policy that is slow to act.

Nothing heavy is imported here: numpy and scikit-learn come with the first detector.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from manor.api import CliCommand, DetectorType, HealPolicyType, hookimpl

if TYPE_CHECKING:
    from manor.api import Detector, HealPolicy
    from manor_assurance.config import CautiousConfig, CombinedConfig, LimitsConfig

__all__ = ["manor_cli_commands", "manor_detectors", "manor_heal_policies"]


def _combined(config: CombinedConfig) -> Detector:
    from manor_assurance.detector import CombinedDetector

    return CombinedDetector(config)


def _limits(config: LimitsConfig) -> Detector:
    from manor_assurance.limits import LimitsDetector

    return LimitsDetector(config)


def _cautious(config: CautiousConfig) -> HealPolicy:
    from manor_assurance.policy import CautiousPolicy

    return CautiousPolicy(config)


@hookimpl
def manor_detectors() -> Iterable[DetectorType]:
    """The learning detector, and static limits beside it."""
    from manor_assurance.config import CombinedConfig, LimitsConfig

    yield DetectorType(
        name="combined",
        summary="Learns a VNF's KPIs online; several views of each row, one threshold for a false-alarm budget",
        config=CombinedConfig,
        create=_combined,
    )
    yield DetectorType(
        name="limits",
        summary="Upper and lower limits per KPI, with hysteresis",
        config=LimitsConfig,
        create=_limits,
    )


@hookimpl
def manor_heal_policies() -> Iterable[HealPolicyType]:
    """The default policy."""
    from manor_assurance.config import CautiousConfig

    yield HealPolicyType(
        name="cautious",
        summary="Heals what is dead or confirmed, restart first; tells a person what is only inferred",
        config=CautiousConfig,
        create=_cautious,
    )


@hookimpl
def manor_cli_commands() -> Iterable[CliCommand]:
    """``manor assurance``."""
    yield CliCommand(
        name="assurance",
        help="Detectors: measure them on labelled series",
        target="manor_assurance.cli:app",
    )
