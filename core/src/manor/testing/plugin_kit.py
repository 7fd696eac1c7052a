"""What every plugin must be, whatever it provides: quick to import, honest about its hooks, plain in its words.

Each import is tried in a process of its own, so that what the test run has imported does not hide anything.
"""

from __future__ import annotations

import functools
import json
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest

from manor.api import is_legal_name
from manor.authoring.probe import HEAVY, IMPORT_BUDGET_S, SHOWN, Probe, probe, wrong_imports
from manor.plugin import Plugins, PluginSettings
from manor.plugin.calling import RECORDS
from manor.plugin.validation import PROVIDERS, validate
from manor.testing.conformance import Conformance

__all__ = ["HEAVY", "PluginConformance"]

_SECRET_WORDS = ("password", "secret", "token", "api_key", "private_key")


class PluginConformance(Conformance):
    """Subclass it, and name the ``module`` that the entry point names."""

    module: ClassVar[str] = ""
    import_budget_s: ClassVar[float] = IMPORT_BUDGET_S
    """CPU seconds that the import may take beside ``manor.api`` and pydantic; the best of three counts."""
    shown_imports: ClassVar[frozenset[str]] = SHOWN
    """What the plugin's code may import of ``manor``."""

    @pytest.fixture
    def plugin(self) -> ModuleType:
        """The plugin's module."""
        assert self.module, "give the class attribute 'module'"
        return import_module(self.module)

    @pytest.fixture
    def records(self, plugin: ModuleType) -> dict[str, list[Any]]:
        """All records that it provides, by hook."""
        return {hook: _records(function()) for hook, function in validate(plugin).items() if hook in PROVIDERS}

    def test_import_is_quick(self) -> None:
        assert _probe(self.module).seconds < self.import_budget_s

    def test_import_loads_nothing_heavy(self) -> None:
        assert not _probe(self.module).heavy

    def test_import_does_nothing(self) -> None:
        done = _probe(self.module)
        assert not done.written, "importing writes, connects or starts a process"
        assert done.threads == 0, "importing starts a thread"

    def test_hooks_are_known_and_plain(self, plugin: ModuleType) -> None:
        assert validate(plugin), "the plugin implements no hook"

    def test_host_takes_it_in(self, plugin: ModuleType) -> None:
        host = Plugins(builtin=(), extra={"under-test": plugin}, entry_points=False, settings=PluginSettings())
        (info,) = host.listing()
        assert not info.error, info.error

    def test_entry_point_names_it(self) -> None:
        from importlib.metadata import entry_points

        from manor.api import ENTRY_POINT_GROUP

        names = {point.name for point in entry_points(group=ENTRY_POINT_GROUP) if point.value == self.module}
        assert names, f"no entry point of the group {ENTRY_POINT_GROUP} names {self.module}"
        assert all(is_legal_name(name) for name in names)

    def test_providers_are_pure(self, plugin: ModuleType) -> None:
        for hook, function in validate(plugin).items():
            if hook in PROVIDERS:
                assert _records(function()) == _records(function()), f"{hook} gives other records the second time"

    def test_records_are_sound(self, records: dict[str, list[Any]]) -> None:
        for hook, found in records.items():
            names = [record.name for record in found]
            assert len(set(names)) == len(names), f"{hook} gives a name twice"
            for record in found:
                assert isinstance(record, RECORDS[hook])
                assert is_legal_name(record.name)
                about = getattr(record, "summary", getattr(record, "help", ""))
                assert about.strip(), f"{record.name} says nothing about itself"
                assert "\n" not in about

    def test_settings_are_described_and_hold_no_secret(self, records: dict[str, list[Any]]) -> None:
        for record in (record for found in records.values() for record in found if hasattr(record, "config")):
            json.dumps(record.config.model_json_schema())
            for name, field in record.config.model_fields.items():
                if any(word in name for word in _SECRET_WORDS) and not field.is_required():
                    default = field.get_default(call_default_factory=False)
                    reveal = getattr(default, "get_secret_value", None)
                    shown = reveal() if reveal else default
                    assert not shown, f"{record.name}: the setting {name} has a secret as its default"

    def test_commands_can_be_imported(self, records: dict[str, list[Any]]) -> None:
        for command in records.get("manor_cli_commands", ()):
            module, _, attribute = command.target.partition(":")
            assert hasattr(import_module(module), attribute), f"{command.target} is not there"

    def test_code_imports_only_the_api(self) -> None:
        wrong = wrong_imports(_sources(self.module), self.shown_imports)
        assert not wrong, wrong


def _records(result: Any) -> list[Any]:
    return list(result or ())


@functools.cache
def _probe(module: str) -> Probe:
    return probe(module, tries=3)


def _sources(module: str) -> list[Path]:
    spec = find_spec(module.partition(".")[0])
    assert spec is not None, f"{module} is not installed"
    roots = [Path(place) for place in spec.submodule_search_locations or ()]
    files = [path for root in roots for path in sorted(root.rglob("*.py"))]
    return files or [Path(str(spec.origin))]
