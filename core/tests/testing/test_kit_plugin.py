"""The plugin kit on core's own providers, which come in by the same door as a stranger's."""

from __future__ import annotations

from typing import ClassVar

from manor.testing import PluginConformance


class TestFakesPlugin(PluginConformance):
    module = "manor.fakes.plugin"
    shown_imports: ClassVar[frozenset[str]] = frozenset({"manor"})
    deviations: ClassVar[dict[str, str]] = {
        "test_entry_point_names_it": "core names its own modules; they have no entry point",
    }
