"""The conformance kit: what a plugin must do, as tests that its author subclasses.

In the top ``conftest.py``: ``pytest_plugins = ["manor.testing.pytest_plugin"]``. Then, in a test module::

    from manor.testing import VimConformance, VimSpecs

    class TestAcme(VimConformance):
        @pytest.fixture
        def specs(self, tmp_path):
            return VimSpecs(owner="manor/kit", host="host-1", workdir=tmp_path)

        @pytest.fixture
        def driver(self, specs):
            return connect(AcmeSettings(url="…"), environment(specs.owner))

A kit test may not be overridden or skipped; one that cannot hold goes into ``deviations`` with the reason, and then has
to fail. Names are imported when first used, so that labs and private switches need no pytest.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manor.testing.conformance import Conformance
    from manor.testing.detector_kit import DetectorConformance
    from manor.testing.detector_specs import DetectorSpecs
    from manor.testing.format_kit import FormatConformance, FormatSpecs
    from manor.testing.heal_policy_kit import HealPolicyConformance, HealPolicySpecs
    from manor.testing.machines import vim_machine
    from manor.testing.placement_kit import PlacementConformance, PlacementSpecs
    from manor.testing.plugin_kit import PluginConformance
    from manor.testing.sdn_kit import SdnConformance
    from manor.testing.sdn_specs import SdnSpecs
    from manor.testing.telemetry_kit import TelemetryConformance, TelemetrySpecs
    from manor.testing.vim_kit import VimConformance
    from manor.testing.vim_specs import VimSpecs
    from manor.testing.vim_world import FakeVimWorld, VimWorld
    from manor.testing.vnfm_kit import KitGuest, VnfmConformance, VnfmSpecs

__all__ = [
    "Conformance",
    "DetectorConformance",
    "DetectorSpecs",
    "FakeVimWorld",
    "FormatConformance",
    "FormatSpecs",
    "HealPolicyConformance",
    "HealPolicySpecs",
    "KitGuest",
    "PlacementConformance",
    "PlacementSpecs",
    "PluginConformance",
    "SdnConformance",
    "SdnSpecs",
    "TelemetryConformance",
    "TelemetrySpecs",
    "VimConformance",
    "VimSpecs",
    "VimWorld",
    "VnfmConformance",
    "VnfmSpecs",
    "vim_machine",
]

_HOMES = {
    "Conformance": "conformance",
    "DetectorConformance": "detector_kit",
    "DetectorSpecs": "detector_specs",
    "FakeVimWorld": "vim_world",
    "FormatConformance": "format_kit",
    "FormatSpecs": "format_kit",
    "HealPolicyConformance": "heal_policy_kit",
    "HealPolicySpecs": "heal_policy_kit",
    "KitGuest": "vnfm_kit",
    "PlacementConformance": "placement_kit",
    "PlacementSpecs": "placement_kit",
    "PluginConformance": "plugin_kit",
    "SdnConformance": "sdn_kit",
    "SdnSpecs": "sdn_specs",
    "TelemetryConformance": "telemetry_kit",
    "TelemetrySpecs": "telemetry_kit",
    "VimConformance": "vim_kit",
    "VimSpecs": "vim_specs",
    "VimWorld": "vim_world",
    "VnfmConformance": "vnfm_kit",
    "VnfmSpecs": "vnfm_kit",
    "vim_machine": "machines",
}

if "pytest" in sys.modules:
    # Before any of them is imported, so that a failing assert of the kit shows its values in the author's run.
    _KIT = ("conformance", "vim_basic", "vim_capabilities", "vim_checks", "vim_misfortune", "sdn_changes", "sdn_flows")
    sys.modules["pytest"].register_assert_rewrite(
        *(f"{__name__}.{module}" for module in sorted({*_KIT, *_HOMES.values()}))
    )


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
