"""What is on its way out works until its last release, tells who uses it, and is really gone after that."""

from __future__ import annotations

import re
import types
from importlib.metadata import version
from pathlib import Path

import pytest

import manor.api
from manor.api import deprecations, hookimpl
from manor.api.deprecations import DEPRECATIONS, Deprecation
from manor.authoring import new_plugin
from manor.authoring.check import check_plugin, find_subject
from manor.plugin import Plugins, PluginSettings, PluginState
from manor.plugin.validation import HOOKS

OLD_NAME = Deprecation(name="Machine", since="0.1", last="0.3", instead="NodeSpec")
OLD_HOOK = Deprecation(name="manor_heal_policies", since="0.1", last="0.3", instead="manor_policies")


@pytest.fixture
def deprecated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deprecations, "DEPRECATIONS", (OLD_NAME, OLD_HOOK))


def test_a_renamed_name_still_works_and_warns_with_its_last_release(deprecated: None) -> None:
    with pytest.warns(DeprecationWarning, match=r"manor\.api\.Machine is deprecated since 0\.1 and goes after 0\.3"):
        from manor.api import Machine  # type: ignore[attr-defined]
    assert Machine is manor.api.NodeSpec


def test_an_unknown_name_is_as_unknown_as_ever(deprecated: None) -> None:
    with pytest.raises(ImportError):
        from manor.api import Nothing  # type: ignore[attr-defined]  # noqa: F401


def test_the_host_tells_who_uses_an_old_hook_and_runs_it(deprecated: None) -> None:
    plugin = types.ModuleType("old")
    plugin.manor_heal_policies = hookimpl(lambda: ())  # type: ignore[attr-defined]
    host = Plugins(builtin=(), extra={"old": plugin}, entry_points=False, settings=PluginSettings())
    (info,) = host.listing()
    assert info.state is PluginState.READY
    assert info.notices == (str(OLD_HOOK),)


def test_check_tells_where(deprecated: None, tmp_path: Path) -> None:
    root, *_ = new_plugin("heal-policy", "ancient", tmp_path)
    policy = next(root.glob("src/*/policy.py"))
    policy.write_text(policy.read_text() + "\n\ndef late():\n    from manor.api import Machine\n\n    return Machine\n")
    (found,) = [answer for answer in check_plugin(find_subject(str(root))) if answer.name == "deprecated names"]
    assert found.ok
    assert "__init__.py" in found.detail
    assert re.search(r"policy\.py:\d+: Machine is deprecated", found.detail)


def test_nothing_outlives_its_last_release_nor_goes_too_soon() -> None:
    release = tuple(map(int, re.findall(r"\d+", version("manor"))[:2]))
    for known in (*DEPRECATIONS, OLD_NAME, OLD_HOOK):
        since, last = (tuple(map(int, text.split("."))) for text in (known.since, known.last))
        assert since < last
        assert last[0] > since[0] or last[1] - since[1] >= 2, f"{known.name}: two minor releases' notice at least"
        assert release <= last, f"{known}: it is over, take it out"
    for known in DEPRECATIONS:
        assert known.name in HOOKS or known.name in manor.api.__all__ or known.instead in manor.api.__all__
