"""What a plugin's fault costs, row by row, as an operator sees it: whole operations beside plugins that misbehave.

The rows that concern the host alone are in test_host.py, test_guard.py and test_events.py; a driver's crash is in
test_isolation.py and test_isolated_operation.py.
"""

from __future__ import annotations

import json
import sys
import textwrap
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import secure_web

from manor.api import CallContext, Observed, OperationKind, ResourceSpec, VimDriver, hookimpl
from manor.cli import main
from manor.errors import PlanRefused, PluginError
from manor.fakes import FakeVim
from manor.fakes.plugin import VimSettings
from manor.lcm import endpoints, ns
from manor.lcm.runtime import Runtime, open_runtime
from manor.lcm.wishes import Wishes
from manor.model.instance import EndpointKind, OnFailure, OperationState
from manor.plugin import Plugins, PluginSettings
from manor.plugin.events import MUTE_AFTER

Open = Callable[..., Runtime]


@pytest.fixture
def site(tmp_path: Path, image: Path) -> Iterator[Open]:
    """Opens an installation with these plugins beside core's own, a VIM, a controller and a service to make."""
    opened: list[Runtime] = []

    def site(*, settings: PluginSettings | None = None, driver: str = "fake", **extra: object) -> Runtime:
        named = {name.replace("_", "-"): plugin for name, plugin in extra.items()}
        plugins = Plugins(extra=named, entry_points=False, settings=settings or PluginSettings())
        rt = open_runtime(tmp_path / "home", plugins=plugins)
        opened.append(rt)
        endpoints.add(rt, EndpointKind.VIM, "lab", driver=driver, config={})
        endpoints.add(rt, EndpointKind.SDN, "net", driver="fake", config={})
        secure_web.onboard(rt)
        ns.create(rt, "secure-web", name="demo")
        return rt

    yield site
    for rt in opened:
        rt.close()


def plugin(**functions: Callable[..., object]) -> types.ModuleType:
    module = types.ModuleType("under_test")
    for name, function in functions.items():
        setattr(module, name, hookimpl(function))
    return module


def listed(rt: Runtime, name: str) -> Any:
    return next(info for info in rt.plugins.listing() if info.name == name)


# import, register, provider call


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (plugin(manor_vim_driver=lambda: ()), "did you mean manor_vim_drivers"),
        (plugin(manor_vim_drivers=lambda: ["a string"]), "str instead of a VimDriver"),
        (plugin(manor_vim_drivers=lambda: sys.exit(3)), "SystemExit"),
        (plugin(manor_heal_policies=lambda: 1 / 0), "ZeroDivisionError"),
    ],
    ids=["misspelt hook", "wrong record", "exits", "raises"],
)
def test_a_bad_plugin_costs_itself_and_operations_run(site: Open, bad: types.ModuleType, says: str) -> None:
    rt = site(bad=bad)
    assert secure_web.run(rt, OperationKind.INSTANTIATE) is OperationState.COMPLETED
    info = listed(rt, "bad")
    assert info.state == "quarantined"
    assert says in info.error + info.hint


def test_what_needs_a_quarantined_plugin_is_refused_by_its_name(site: Open) -> None:
    rt = site(corner=plugin(manor_placement_policies=lambda: 1 / 0))
    with pytest.raises(PluginError, match="corner") as caught:
        ns.propose(rt, "demo", OperationKind.INSTANTIATE, Wishes(placement="corner"))
    assert "quarantined: corner" in caught.value.hint


# review


@pytest.mark.slow
def test_a_review_that_raises_refuses_until_it_is_left_out(site: Open) -> None:
    raising = plugin(manor_review_plan=lambda plan, service: 1 / 0)
    rt = site(guard=raising)
    with pytest.raises(PlanRefused) as caught:
        ns.propose(rt, "demo", OperationKind.INSTANTIATE)
    (finding,) = caught.value.findings
    assert "guard" in finding.message
    assert "ZeroDivisionError" in finding.message
    assert finding.hint == "mend the plugin, or leave it out: MANOR_PLUGINS_DENY=guard"
    rt.close()
    denied = PluginSettings.read({"MANOR_PLUGINS_DENY": "guard"})
    again = Plugins(extra={"guard": raising}, entry_points=False, settings=denied)
    with open_runtime(rt.home, plugins=again) as later:
        assert secure_web.run(later, OperationKind.INSTANTIATE) is OperationState.COMPLETED


# events


@pytest.mark.slow
def test_observers_that_hang_or_raise_stall_no_operation(site: Open) -> None:
    release = threading.Event()
    failed: list[str] = []
    heard: list[str] = []

    def fail(event: Any) -> None:
        failed.append(event.state)
        raise OSError("no network")

    rt = site(
        hangs=plugin(manor_operation_event=lambda event: release.wait(300)),
        fails=plugin(manor_operation_event=fail),
        well=plugin(manor_operation_event=lambda event: heard.append(event.state)),
    )
    try:
        for operation in (OperationKind.INSTANTIATE, OperationKind.TERMINATE, OperationKind.INSTANTIATE):
            assert secure_web.run(rt, operation) is OperationState.COMPLETED
        deadline = time.monotonic() + 60
        while (heard.count("COMPLETED") < 3 or not failed) and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        release.set()
    assert heard.count("COMPLETED") == 3
    assert 0 < len(failed) <= MUTE_AFTER


# driver verbs


class Hangs(FakeVim):
    """One node's ensure does not come back before it is let go."""

    let_go = threading.Event()

    def ensure(self, spec: ResourceSpec, ctx: CallContext) -> Observed:
        if "/firewall/" in spec.key:
            self.let_go.wait(300)
        return super().ensure(spec, ctx)


@pytest.mark.slow
def test_a_hanging_verb_holds_its_own_lane_only(site: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others' nodes are made, the operation ends, the call is seen as stuck, and nothing runs under its feet."""
    # The others' have to be enough on a busy machine too.
    monkeypatch.setattr("manor.lcm.diff.DEADLINES_S", {"node": 3.0, "verify": 10.0, "configure": 10.0})
    Hangs.let_go.clear()
    world = Hangs().world
    driver = VimDriver(
        name="hangs", summary="A VIM.", config=VimSettings, connect=lambda s, e: Hangs(world, owner=e.owner)
    )
    rt = site(driver="hangs", hangs=plugin(manor_vim_drivers=lambda: [driver]))
    try:
        ended = secure_web.run(rt, OperationKind.INSTANTIATE, on_failure=OnFailure.HOLD)
        assert ended is OperationState.FAILED_TEMP
        with world.change() as state:
            made = sorted(name[2].split("/")[2] for name in state.natives if name[1] == "node")
        assert made == ["client", "monitor", "web"]
        (stuck,) = rt.plugins.counters.in_flight(overdue=True)
        assert (stuck.plugin, stuck.verb) == ("hangs", "ensure")
    finally:
        Hangs.let_go.set()


# settings, by the command line


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed plugin that leaves a mark when it is imported."""
    mark = tmp_path / "imported"
    info = tmp_path / "site/stranger-1.dist-info"
    info.mkdir(parents=True)
    code = f"""
        from pathlib import Path
        Path({str(mark)!r}).touch()
        raise SystemExit("a bad day")
    """
    (tmp_path / "site/stranger.py").write_text(textwrap.dedent(code))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[manor.plugins.v1]\nstranger = stranger\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("MANOR_HOME", str(tmp_path / "home"))
    return mark


@pytest.mark.parametrize(
    ("settings", "state", "is_imported"),
    [
        ({}, "quarantined", True),
        ({"MANOR_PLUGINS_ALLOW": "stranger,assurance"}, "quarantined", True),
        ({"MANOR_PLUGINS_ALLOW": "assurance"}, "disabled", False),
        ({"MANOR_PLUGINS_DENY": "stranger"}, "disabled", False),
        ({"MANOR_PLUGINS_SAFE_MODE": "1"}, "disabled", False),
    ],
)
def test_settings_keep_a_plugin_out_unread(
    stranger: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    settings: dict[str, str],
    state: str,
    is_imported: bool,
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert main(["--json", "plugin", "list"]) == 0
    states = {info["name"]: info["state"] for info in json.loads(capsys.readouterr().out)}
    assert states["stranger"] == state
    assert stranger.exists() is is_imported
    if "MANOR_PLUGINS_SAFE_MODE" in settings:
        assert states["vim-libvirt"] == "disabled"
        assert states["manor.fakes.plugin"] == "ready"


def test_strict_makes_it_fatal_and_doctor_names_it(
    stranger: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--json", "doctor", "--only", "plugins"])
    assert "stranger (stranger 1): cannot import stranger: SystemExit: a bad day" in capsys.readouterr().out
    monkeypatch.setenv("MANOR_PLUGINS_STRICT", "1")
    assert main(["plugin", "list"]) == 7
    assert "stranger" in capsys.readouterr().err


def test_reviews_see_what_the_operator_says_of_a_service(site: Open) -> None:
    seen: list[dict[str, str]] = []

    def review(plan: Any, service: Any) -> tuple[()]:
        seen.append(dict(service.labels))
        return ()

    rt = site(looks=plugin(manor_review_plan=review))
    ns.create(rt, "secure-web", name="gold", parameters={"labels": {"tier": "gold", "rank": 1}})
    ns.propose(rt, "gold", OperationKind.INSTANTIATE)
    ns.propose(rt, "demo", OperationKind.INSTANTIATE)
    assert seen == [{"tier": "gold", "rank": "1"}, {}]
