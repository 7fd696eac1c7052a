"""What the plugin host does with good plugins and bad ones: one that fails costs only itself, and is shown."""

from __future__ import annotations

import importlib
import sys
import textwrap
import threading
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import BaseModel

from manor.api import (
    DoctorCheck,
    DriverEnvironment,
    Finding,
    OperationKind,
    Plan,
    ServiceView,
    Severity,
    VimDriver,
    hookimpl,
)
from manor.errors import Indeterminate, PluginConflict, PluginError, UsageError
from manor.plugin import Plugins, PluginSettings, PluginState

Install = Callable[..., None]


class Settings(BaseModel):
    url: str
    password: str = ""


def vim(name: str) -> VimDriver:
    return VimDriver(name=name, summary="A VIM.", config=Settings, connect=lambda settings, environment: object())


def plugin(**functions: Callable[..., object]) -> types.ModuleType:
    """A plugin whose hooks are these functions."""
    module = types.ModuleType("under_test")
    for name, function in functions.items():
        setattr(module, name, hookimpl(function))
    return module


def host(settings: PluginSettings | None = None, **plugins: object) -> Plugins:
    named = {name.replace("_", "-"): one for name, one in plugins.items()}
    return Plugins(builtin=(), extra=named, entry_points=False, settings=settings or PluginSettings())


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a distribution with an entry point: ``install("dist", "1.0", entry="module", code="…")``."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def put(dist: str, version: str, code: str, *, entry: str = "", module: str = "") -> None:
        module = module or dist.replace("-", "_")
        (site / f"{module}.py").write_text(textwrap.dedent(code))
        info = site / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[manor.plugins.v1]\n{entry or dist} = {module}\n")
        importlib.invalidate_caches()
        monkeypatch.delitem(sys.modules, module, raising=False)

    return put


def installed(settings: PluginSettings | None = None) -> Plugins:
    return Plugins(builtin=(), settings=settings or PluginSettings())


GOOD = """
    from manor.api import VimDriver, hookimpl
    from pydantic import BaseModel
    class Settings(BaseModel):
        pass
    @hookimpl
    def manor_vim_drivers():
        yield VimDriver(name="acme", summary="ACME", config=Settings, connect=lambda s, e: None)
"""


class TestFinding:
    def test_installed_plugin_is_found_and_stamped(self, install: Install) -> None:
        install("acme-vim", "1.2", GOOD)
        driver = installed().vim_drivers()["acme"]
        assert (driver.plugin, driver.distribution, driver.version) == ("acme-vim", "acme-vim", "1.2")

    def test_names_import_nothing(self, install: Install) -> None:
        install("explosive", "1", "raise SystemExit('imported')")
        assert "explosive" in installed().names()
        assert "explosive" not in sys.modules

    @pytest.mark.parametrize(
        ("code", "reason"),
        [
            ("raise SystemExit(3)", "SystemExit"),
            ("raise ValueError('bad day')", "bad day"),
            ("import no_such_module_anywhere", "no_such_module_anywhere"),
            ("def broken(:", "SyntaxError"),
        ],
    )
    def test_what_cannot_import_is_quarantined_and_the_rest_runs(
        self, install: Install, code: str, reason: str
    ) -> None:
        install("acme-vim", "1.2", GOOD)
        install("broken", "0.1", code)
        plugins = installed()
        assert "acme" in plugins.vim_drivers()
        info = next(info for info in plugins.listing() if info.name == "broken")
        assert info.state is PluginState.QUARANTINED
        assert reason in info.error
        assert info.hint

    def test_one_name_of_two_distributions_runs_neither(self, install: Install) -> None:
        install("acme-vim", "1.2", GOOD, entry="acme")
        install("other-vim", "3.4", GOOD, entry="acme")
        plugins = installed()
        assert "acme" not in plugins.vim_drivers()
        errors = [info.error for info in plugins.listing() if info.name == "acme"]
        assert len(errors) == 2
        assert all("acme-vim 1.2" in error and "other-vim 3.4" in error for error in errors)

    def test_built_in_that_is_absent_is_no_error(self) -> None:
        plugins = Plugins(
            builtin=("manor.no_such_provider", "manor.fakes.plugin"), entry_points=False, settings=PluginSettings()
        )
        assert [info.name for info in plugins.listing()] == ["manor.fakes.plugin"]

    def test_first_party_plugins_come_in(self) -> None:
        states = {info.name: (info.state, info.error) for info in Plugins(settings=PluginSettings()).listing()}
        for name in ("manor.fakes.plugin", "assurance", "sdn-ryu", "vim-libvirt"):
            assert states[name] == (PluginState.READY, "")


class TestSettings:
    def test_from_the_environment(self) -> None:
        settings = PluginSettings.read(
            {"MANOR_PLUGINS_ALLOW": "a, b", "MANOR_PLUGINS_DENY": "c", "MANOR_PLUGINS_SAFE_MODE": "0"}
        )
        assert settings == PluginSettings(allow=frozenset("ab"), deny=frozenset("c"))
        assert PluginSettings.read({}) == PluginSettings()
        assert PluginSettings.read({"MANOR_PLUGINS_STRICT": "1"}).strict

    @pytest.mark.parametrize(
        "settings",
        [
            PluginSettings(deny=frozenset({"broken"})),
            PluginSettings(allow=frozenset({"another"})),
            PluginSettings(safe_mode=True),
        ],
    )
    def test_what_is_kept_out_is_never_imported(self, install: Install, settings: PluginSettings) -> None:
        install("broken", "1", "raise ValueError")
        plugins = installed(settings)
        assert "broken" not in plugins.names()
        info = next(info for info in plugins.listing() if info.name == "broken")
        assert info.state is PluginState.DISABLED
        assert "MANOR_PLUGINS" in info.error

    def test_strict_makes_a_quarantine_fatal(self, install: Install) -> None:
        install("broken", "1.5", "raise ValueError")
        with pytest.raises(PluginError, match=r"broken 1\.5"):
            installed(PluginSettings(strict=True)).load()


def misspelt() -> PluginError:
    raise AssertionError("never called")


async def coroutine() -> None:
    """Never called."""


def wrong_argument(descriptor: object, extra: object) -> None:
    """Never called."""


def keyword_only(*, descriptor: object) -> None:
    """Never called."""


class TestLies:
    @pytest.mark.parametrize(
        ("bad", "reason", "hint"),
        [
            (plugin(manor_vim_driver=misspelt), "unknown hook manor_vim_driver", "did you mean manor_vim_drivers?"),
            (plugin(manor_vim_drivers=coroutine), "coroutine", "asyncio"),
            (plugin(manor_review_descriptor=wrong_argument), "'extra'", "descriptor"),
            (plugin(manor_review_descriptor=keyword_only), "*, descriptor", ""),
        ],
        ids=["misspelt", "coroutine", "wrong-argument", "keyword-only"],
    )
    def test_a_lie_quarantines_the_whole_plugin(self, bad: types.ModuleType, reason: str, hint: str) -> None:
        bad.manor_sdn_drivers = hookimpl(lambda: pytest.fail("a quarantined plugin was called"))  # type: ignore[attr-defined]
        plugins = host(bad=bad)
        assert not plugins.sdn_drivers()
        (info,) = plugins.listing()
        assert info.state is PluginState.QUARANTINED
        assert reason.removeprefix("*, ") in info.error
        assert hint in info.hint

    def test_wrappers_and_orders_are_refused(self) -> None:
        for options in ({"wrapper": True}, {"tryfirst": True}):
            module = types.ModuleType("under_test")
            module.manor_vim_drivers = hookimpl(**options)(misspelt)  # type: ignore[attr-defined, call-overload]
            (info,) = host(bad=module).listing()
            assert info.state is PluginState.QUARANTINED

    def test_a_forgotten_mark_is_told(self) -> None:
        module = types.ModuleType("under_test")
        module.manor_vim_drivers = list  # type: ignore[attr-defined]
        (info,) = host(bad=module).listing()
        assert "@hookimpl" in info.hint


class TestCollecting:
    def test_core_must_give_exactly_the_arguments(self) -> None:
        plugins = host()
        with pytest.raises(TypeError):
            plugins.call("manor_review_descriptor")
        with pytest.raises(TypeError):
            plugins.call("manor_vim_drivers", extra=1)
        with pytest.raises(TypeError):
            plugins.call("manor_no_such_hook")

    def test_an_implementation_gets_only_what_it_asks_for(self) -> None:
        asked = plugin(manor_review_descriptor=lambda: [finding("looked")])
        assert [f.code for f in host(asked=asked).review_descriptor({})] == ["looked"]

    @pytest.mark.parametrize(
        "result",
        [lambda: 1 // 0, lambda: [object()], lambda: vim("acme"), lambda: sys.exit(1), lambda: [vim("No Good")]],
        ids=["raises", "wrong-type", "not-a-list", "exits", "illegal-name"],
    )
    def test_what_fails_costs_only_that_plugin(self, result: Callable[[], object]) -> None:
        plugins = host(bad=plugin(manor_vim_drivers=result), good=plugin(manor_vim_drivers=lambda: [vim("good")]))
        assert set(plugins.vim_drivers()) == {"good"}
        states = {info.name: info.state for info in plugins.listing()}
        assert states == {"bad": PluginState.QUARANTINED, "good": PluginState.READY}

    def test_a_generator_that_fails_late_gives_nothing(self) -> None:
        def late() -> object:
            yield vim("half")
            raise RuntimeError("late")

        plugins = host(bad=plugin(manor_vim_drivers=late))
        assert not plugins.vim_drivers()
        (outcome,) = plugins.call("manor_vim_drivers")
        assert "late" in str(outcome.error)
        assert "bad" in str(outcome.error)

    def test_an_interrupt_passes(self) -> None:
        def interrupt() -> object:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            host(slow=plugin(manor_vim_drivers=interrupt)).vim_drivers()

    def test_two_of_one_name_are_a_loud_conflict(self, install: Install) -> None:
        install("acme-vim", "1.2", GOOD)
        install("other-vim", "3.4", GOOD)
        plugins = installed()
        with pytest.raises(PluginConflict) as caught:
            plugins.vim_drivers()
        assert "acme-vim 1.2" in str(caught.value)
        assert "other-vim 3.4" in str(caught.value)
        assert "MANOR_PLUGINS_DENY" in caught.value.hint
        clashing = {info.name: info.state for info in plugins.listing()}
        assert clashing["acme-vim"] is clashing["other-vim"] is PluginState.QUARANTINED
        assert not installed(PluginSettings(deny=frozenset({"other-vim"}))).vim_drivers().keys() - {
            "acme",
            "libvirt",
        }

    def test_providers_are_called_once(self) -> None:
        calls: list[int] = []

        def count() -> list[VimDriver]:
            calls.append(1)
            return [vim("good")]

        plugins = host(good=plugin(manor_vim_drivers=count))
        plugins.vim_drivers()
        plugins.vim_drivers()
        plugins.listing()
        assert calls == [1]

    def test_unknown_name_tells_what_is_near_and_what_is_broken(self) -> None:
        plugins = host(
            good=plugin(manor_vim_drivers=lambda: [vim("libvirt")]), bad=plugin(manor_vim_drivers=lambda: 1 // 0)
        )
        with pytest.raises(PluginError) as caught:
            plugins.choose("manor_vim_drivers", "libvrt")
        assert "did you mean libvirt?" in caught.value.hint
        assert "quarantined: bad" in caught.value.hint

    def test_every_provider_hook_has_its_place(self) -> None:
        check = DoctorCheck(name="disk", summary="Disk.", check=lambda ctx: [])
        plugins = host(one=plugin(manor_doctor_checks=lambda: [check]))
        assert plugins.doctor_checks()["disk"].record is check
        for facade in (
            plugins.vim_drivers,
            plugins.vnfm_drivers,
            plugins.sdn_drivers,
            plugins.placement_policies,
            plugins.telemetry_sources,
            plugins.detectors,
            plugins.heal_policies,
            plugins.descriptor_formats,
            plugins.cli_commands,
        ):
            assert not facade()


def finding(code: str, severity: Severity = Severity.INFO) -> Finding:
    return Finding(severity=severity, code=code, message=code)


def silent() -> list[Finding]:
    return []


PLAN = Plan(operation=OperationKind.INSTANTIATE, service_id="a1", service_name="web", steps=())
SERVICE = ServiceView(id="a1", name="web", nsd_id="n", state="NOT_INSTANTIATED")


class TestReviews:
    def test_all_are_heard(self) -> None:
        plugins = host(
            one=plugin(manor_review_plan=lambda plan: [finding(plan.service_name)]),
            two=plugin(manor_review_plan=lambda plan, service: iter([finding(service.state)])),
        )
        assert [f.code for f in plugins.review_plan(PLAN, SERVICE)] == ["web", "NOT_INSTANTIATED"]

    @pytest.mark.parametrize("review", [lambda: 1 // 0, lambda: ["fine"], lambda: True], ids=["raises", "type", "bool"])
    def test_one_that_cannot_be_heard_refuses(self, review: Callable[[], object]) -> None:
        plugins = host(strict=plugin(manor_review_plan=review), ok=plugin(manor_review_plan=lambda: [finding("ok")]))
        findings = {f.code: f for f in plugins.review_plan(PLAN, SERVICE)}
        assert set(findings) == {"ok", "review-failed"}
        assert findings["review-failed"].severity is Severity.ERROR
        assert "strict" in findings["review-failed"].message
        assert "MANOR_PLUGINS_DENY=strict" in findings["review-failed"].hint

    def test_a_quarantined_review_refuses_too(self) -> None:
        liar = plugin(manor_review_plan=silent, manor_vim_driver=misspelt)
        (refusal,) = host(liar=liar).review_plan(PLAN, SERVICE)
        assert refusal.severity is Severity.ERROR
        assert "liar" in refusal.message


class TestConnecting:
    @pytest.fixture
    def environment(self, tmp_path: Path) -> DriverEnvironment:
        return DriverEnvironment(name="lab", owner="manor/test", state_dir=tmp_path, runtime_dir=tmp_path)

    def test_wrong_settings_are_named_without_their_values(self, environment: DriverEnvironment) -> None:
        plugins = host(one=plugin(manor_vim_drivers=lambda: [vim("acme")]))
        with pytest.raises(UsageError) as caught:
            plugins.connect_vim("acme", {"password": ["hunter2"]}, environment)
        assert "url" in str(caught.value)
        assert "password" in str(caught.value)
        assert "hunter2" not in str(caught.value) + caught.value.hint

    def test_an_unknown_exception_is_indeterminate(self, environment: DriverEnvironment) -> None:
        def connect(settings: object, environment: object) -> object:
            raise OSError("https://root:hunter2@acme is down")

        record = VimDriver(name="acme", summary="A VIM.", config=Settings, connect=connect)  # type: ignore[arg-type]
        plugins = host(one=plugin(manor_vim_drivers=lambda: [record]))
        with pytest.raises(Indeterminate) as caught:
            plugins.connect_vim("acme", {"url": "x"}, environment)
        assert "hunter2" not in str(caught.value)
        assert isinstance(caught.value.__cause__, OSError)

    def test_what_is_no_vim_is_refused_with_what_it_lacks(self, environment: DriverEnvironment) -> None:
        record = VimDriver(name="acme", summary="A VIM.", config=Settings, connect=lambda s, e: None)  # type: ignore[arg-type,return-value]
        plugins = host(one=plugin(manor_vim_drivers=lambda: [record]))
        with pytest.raises(PluginError, match="acme gave a NoneType without capabilities, observe, ensure, remove"):
            plugins.connect_vim("acme", {"url": "x"}, environment)

    def test_what_is_refused_is_closed_whatever_its_record_is_made_of(self, environment: DriverEnvironment) -> None:
        class Mine(VimDriver):
            pass

        closed = threading.Event()
        half = types.SimpleNamespace(close=closed.set)
        record = Mine(name="acme", summary="A VIM.", config=Settings, connect=lambda s, e: half)  # type: ignore[arg-type,return-value]
        plugins = host(one=plugin(manor_vim_drivers=lambda: [record]))
        with pytest.raises(PluginError, match="without capabilities"):
            plugins.connect_vim("acme", {"url": "x"}, environment)
        assert closed.is_set()


def test_every_hook_that_returns_things_has_its_record() -> None:
    from manor.plugin.calling import RECORDS
    from manor.plugin.validation import PROVIDERS, REVIEWS

    assert set(RECORDS) == set(PROVIDERS) | set(REVIEWS)
