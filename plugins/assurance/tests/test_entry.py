"""The plugin as the host sees it."""

from __future__ import annotations

import subprocess
import sys

import manor_assurance


def test_records_are_equal_each_time_and_their_settings_have_a_schema():
    for hook in (manor_assurance.manor_detectors, manor_assurance.manor_heal_policies):
        assert list(hook()) == list(hook())
        for record in hook():
            assert record.config.model_json_schema()
            assert record.create(record.config()) is not None


def test_the_entry_module_imports_nothing_heavy():
    code = (
        "import sys, manor_assurance as m; list(m.manor_detectors()); list(m.manor_heal_policies());"
        "print(*sorted({'numpy', 'sklearn', 'typer', 'sqlmodel'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
