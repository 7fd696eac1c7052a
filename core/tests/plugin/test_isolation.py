"""Drivers in a process of their own: the same contract, and whatever becomes of that process, core knows what it is."""

from __future__ import annotations

import itertools
import logging
import os
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import from_json, to_json

from manor.api import (
    CallContext,
    DriverEnvironment,
    GuestAccess,
    GuestResult,
    Metered,
    Observed,
    Phase,
    Query,
    ResourceKind,
    ResourceRef,
    Sdn,
    Target,
    Vim,
    VnfcView,
    VnfView,
    VolumeSpec,
)
from manor.errors import (
    Conflict,
    DeadlineExceeded,
    Indeterminate,
    PluginError,
    Transient,
    Unreachable,
    UsageError,
)
from manor.fakes import FakeSdn, FakeVim, World
from manor.plugin import Plugins, PluginSettings, unguarded, wire
from manor.testing import FakeVimWorld, SdnConformance, SdnSpecs, VimConformance, VimSpecs, VimWorld

OWNER = "manor/test"
FAKES = PluginSettings(isolate=frozenset({"manor.fakes.plugin"}))
SECONDS = 60.0

MISCHIEF = '''
    """A fake VIM that does what the key of a volume says."""
    import ctypes, os, signal, time
    from manor.api import *
    from manor.errors import *
    from manor.fakes import FakeVim, World
    from pydantic import BaseModel

    class Settings(BaseModel):
        token: str = ""
        connects: str = "well"

    class Vim(FakeVim):
        def ensure(self, spec, ctx):
            what, _, once = spec.key.partition("/")
            seen = super().ensure(spec, ctx)
            if once and os.path.exists(once):
                return seen
            if once:
                open(once, "w").close()
            if what == "segv":
                ctypes.string_at(0)
            if what == "conflict":
                raise Conflict("c is otherwise", fields=("size_bytes",), replace=True, hint="look")
            if what == "foreign":
                raise OSError("https://root:hunter2@acme is down")
            if what == "exits":
                raise SystemExit(3)
            if what.startswith("hangs"):
                time.sleep(600)
            if what == "waits":
                while not ctx.is_cancelled():
                    ctx.check("waiting")
                    time.sleep(0.02)
                raise Transient("told to stop")
            if what == "slow":
                time.sleep(2.5)
            if what == "talks":
                print("on standard output")
                ctx.log.warning("says %s", spec.key)
            if what == "odd":
                return "no Observed"
            return seen

        def capabilities(self, ctx):
            if ctx.operation == "die":
                os._exit(7)
            return super().capabilities(ctx)

        def guest_exec(self, ref, argv, ctx, *, stdin=b""):
            return GuestResult(exit_code=len(argv), stdout=stdin[::-1], stderr=str(ctx.attempt).encode())

    class Half:
        def capabilities(self, ctx):
            pass

        def close(self):
            pass

    def connect(settings, environment):
        if settings.connects == "half":
            return Half()
        if settings.connects == "badly":
            raise Unauthorized("no")
        if settings.connects == "dies":
            ctypes.string_at(0)
        return Vim(World(state_file=environment.state_dir / "world.json"), owner=environment.owner)

    class Source:
        def collect(self, targets, ctx):
            for target in targets:
                yield Sample(metric="pid", value=float(os.getpid()), unit="1", key=target.key, time_s=1.0)

        def close(self):
            pass

    class Manager:
        def boot_data(self, vnf, vnfc):
            return BootData(user_data=f"{vnfc.name} in {os.getpid()}")

        def configure(self, vnf, guests, ctx):
            for key, guest in guests.items():
                result = guest.run(["set", key], ctx, stdin=b"\\xff")
                if result.stdout != b"\\xff":
                    raise Permanent("the guest did not answer")

        def health(self, vnf, guests, ctx):
            return Health(ready=all(guest.ping(ctx) for guest in guests.values()))

        def quiesce(self, vnf, guests, ctx):
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(600)

        def close(self):
            pass

    @hookimpl
    def manor_vim_drivers():
        yield VimDriver(name="mischief", summary="A VIM.", config=Settings, connect=connect)

    @hookimpl
    def manor_telemetry_sources():
        yield TelemetrySourceType(name="pids", summary="Pids.", config=Settings, connect=lambda s, e: Source())

    @hookimpl
    def manor_vnfm_drivers():
        yield VnfmDriver(name="inside", summary="A manager.", config=Settings, connect=lambda s, e: Manager())
'''


def place(tmp_path: Path) -> DriverEnvironment:
    return DriverEnvironment(name="lab", owner=OWNER, state_dir=tmp_path, runtime_dir=tmp_path)


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plugins:
    """A host with the plugin above, installed and isolated."""
    site = tmp_path / "site"
    info = site / "mischief-1.dist-info"
    info.mkdir(parents=True)
    (site / "mischief.py").write_text(textwrap.dedent(MISCHIEF))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mischief\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[manor.plugins.v1]\nmischief = mischief\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "mischief", raising=False)
    return Plugins(builtin=(), settings=PluginSettings(isolate=frozenset({"mischief"})))


@pytest.fixture
def vim(plugins: Plugins, tmp_path: Path) -> Iterator[Vim]:
    vim = plugins.connect_vim("mischief", {}, place(tmp_path))
    yield vim
    vim.close()


def volume(key: str) -> VolumeSpec:
    return VolumeSpec(key=key, owner=OWNER, name="v", host="host-1", size_bytes=1 << 20)


def within(seconds: float = SECONDS) -> CallContext:
    return CallContext.within(seconds)


def seen(vim: Vim) -> list[str]:
    return sorted(one.ref.key for one in vim.observe(Query(owner=OWNER), within()))


def pid(driver: object) -> int:
    found: int = unguarded(driver).pid  # type: ignore[attr-defined]
    return found


@pytest.mark.slow
class TestVimContract(VimConformance):
    """The whole kit, through the socket."""

    @pytest.fixture
    def driver(self, tmp_path: Path) -> Iterator[Vim]:
        driver = Plugins(settings=FAKES, entry_points=False).connect_vim("fake", {}, place(tmp_path))
        yield driver
        driver.close()

    @pytest.fixture
    def specs(self, tmp_path: Path) -> VimSpecs:
        return VimSpecs(owner=OWNER, host="host-1", workdir=tmp_path, boots=True)

    @pytest.fixture
    def world(self, tmp_path: Path) -> VimWorld:
        return FakeVimWorld(World(state_file=tmp_path / "world.json"))


@pytest.mark.slow
class TestSdnContract(SdnConformance):
    """The same of a controller."""

    HOSTS = ({"name": "host-1"}, {"name": "host-2"})

    @pytest.fixture
    def driver(self, tmp_path: Path) -> Iterator[Sdn]:
        config = {"hosts": list(self.HOSTS)}
        driver = Plugins(settings=FAKES, entry_points=False).connect_sdn("fake", config, place(tmp_path))
        yield driver
        driver.close()

    @pytest.fixture
    def stranger(self, tmp_path: Path, driver: Sdn) -> Sdn | None:
        return FakeSdn(World(state_file=tmp_path / "world.json"), owner="manor/stranger")

    @pytest.fixture
    def specs(self) -> SdnSpecs:
        return SdnSpecs(owner=OWNER)


def test_it_is_another_process_and_is_listed_as_such(vim: Vim, plugins: Plugins) -> None:
    assert pid(vim) != os.getpid()
    (info,) = [each for each in plugins.listing() if each.name == "mischief"]
    assert info.isolated


def test_only_what_is_asked_for_is_isolated(tmp_path: Path) -> None:
    plugins = Plugins(settings=PluginSettings.read({"MANOR_PLUGINS_ISOLATE": "other"}), entry_points=False)
    assert isinstance(unguarded(plugins.connect_vim("fake", {}, place(tmp_path))), FakeVim)


def test_a_crash_in_a_verb_leaves_its_effect_in_doubt_and_the_next_call_works(vim: Vim) -> None:
    before = pid(vim)
    with pytest.raises(Indeterminate, match=r"SIGSEGV in the middle of ensure") as caught:
        vim.ensure(volume("segv"), within())
    assert "a retry looks first" in caught.value.hint
    assert seen(vim) == ["segv"], "what was done before the crash is found by its key"
    assert pid(vim) != before


def test_a_crash_while_looking_changed_nothing(vim: Vim) -> None:
    with pytest.raises(Transient, match="ended with 7"):
        vim.capabilities(CallContext.within(SECONDS, operation="die"))
    assert vim.capabilities(within()).hosts


def test_a_process_that_is_killed_between_calls_is_started_anew(vim: Vim) -> None:
    vim.ensure(volume("a"), within())
    os.kill(pid(vim), signal.SIGKILL)
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            assert seen(vim) == ["a"]
            return
        except Transient:  # the kill is still on its way
            continue
    pytest.fail("never came back")


def test_calls_that_were_under_way_all_hear_of_the_crash(vim: Vim) -> None:
    errors: list[Exception] = []

    def slow() -> None:
        try:
            vim.ensure(volume(f"hangs-{next(numbers)}"), within())
        except Exception as error:
            errors.append(error)

    numbers = itertools.count()
    threads = [threading.Thread(target=slow) for _ in range(4)]
    for thread in threads:
        thread.start()
    until_s = time.monotonic() + SECONDS
    while len(seen(vim)) < len(threads):
        assert time.monotonic() < until_s
        time.sleep(0.01)
    with pytest.raises(Indeterminate):
        vim.ensure(volume("segv"), within())
    for thread in threads:
        thread.join()
    assert len(errors) == 4
    assert all(type(error) is Indeterminate for error in errors)


def test_our_errors_come_through_whole(vim: Vim) -> None:
    with pytest.raises(Conflict) as caught:
        vim.ensure(volume("conflict"), within())
    assert (caught.value.message, caught.value.hint) == ("c is otherwise", "look")
    assert (caught.value.fields, caught.value.replace) == (("size_bytes",), True)


def test_what_hosts_that_answer_have_comes_through_too() -> None:
    ref = ResourceRef(kind=ResourceKind.VOLUME, key="v", host="h1")
    seen = Observed(ref=ref, owner="o", native_id="n", phase=Phase.ACTIVE, spec_hash="s", detail={"missing": ["a"]})
    error = Unreachable("h2 is away", hosts={"h2": "no route"}, found=[seen], retry_after_s=3.0, hint="look")
    told = wire.error_from_json(from_json(to_json(wire.error_to_json(error))))
    assert isinstance(told, Unreachable)
    assert vars(told) == vars(error)


def test_a_strangers_error_means_what_it_means_in_core(vim: Vim) -> None:
    with pytest.raises(Indeterminate, match=r"ensure volume foreign: OSError: https://\*\*\*@acme is down"):
        vim.ensure(volume("foreign"), within())
    with pytest.raises(Indeterminate, match="SystemExit: 3"):
        vim.ensure(volume("exits"), within())
    with pytest.raises(Indeterminate, match="odd"):
        vim.ensure(volume("odd"), within())
    assert len(seen(vim)) == 3


@pytest.mark.slow
def test_a_hanging_call_is_given_up_in_time_and_its_process_with_it(vim: Vim) -> None:
    before = pid(vim)
    slow = threading.Thread(target=vim.ensure, args=(volume("slow"), within()))
    slow.start()
    until_s = time.monotonic() + SECONDS
    while "slow" not in seen(vim):  # it has begun, and ends after the other's deadline and before the process does
        assert time.monotonic() < until_s
    with pytest.raises(DeadlineExceeded, match="has not come back"):
        vim.ensure(volume("hangs"), within(2.0))  # enough to get there on a busy machine
    assert {"hangs", "slow"} >= set(seen(vim))
    assert pid(vim) != before
    slow.join()
    with pytest.raises(ProcessLookupError):
        os.kill(before, 0)


def test_a_cancel_is_heard(vim: Vim) -> None:
    cancelled = threading.Event()
    ctx = CallContext(deadline=time.monotonic() + SECONDS, is_cancelled=cancelled.is_set)
    threading.Timer(0.3, cancelled.set).start()
    with pytest.raises(Transient, match="told to stop"):
        vim.ensure(volume("waits"), ctx)


@pytest.mark.slow
def test_the_deadline_is_the_drivers_to_keep(vim: Vim) -> None:
    with pytest.raises(DeadlineExceeded, match="no time left for waiting"):
        vim.ensure(volume("waits"), within(2.0))  # enough to get there on a busy machine


def test_what_it_logs_is_ours_to_show_and_what_it_prints_is_not_on_our_output(
    vim: Vim, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.WARNING):
        vim.ensure(volume("talks"), within())
    assert "says talks" in caplog.messages
    assert "standard output" not in capfd.readouterr().out


def test_bytes_and_optional_protocols_come_through(vim: Vim) -> None:
    assert isinstance(vim, GuestAccess)
    assert isinstance(vim, Metered)
    ref = ResourceRef(kind=ResourceKind.NODE, key="n")
    result = vim.guest_exec(ref, ["a", "b"], CallContext.within(SECONDS, attempt=3), stdin=bytes(range(256)))
    assert (result.exit_code, result.stdout, result.stderr) == (2, bytes(range(255, -1, -1)), b"3")


def test_settings_are_checked_in_core_and_kept_off_the_command_line(plugins: Plugins, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        plugins.connect_vim("mischief", {"token": ["x"]}, place(tmp_path))
    vim = plugins.connect_vim("mischief", {"token": "hunter2"}, place(tmp_path))
    for what in ("cmdline", "environ"):
        assert b"hunter2" not in Path(f"/proc/{pid(vim)}/{what}").read_bytes()
    vim.close()


@pytest.mark.parametrize(("how", "error"), [("badly", "Unauthorized"), ("dies", "Transient")])
def test_what_goes_wrong_in_connect_is_told(plugins: Plugins, tmp_path: Path, how: str, error: str) -> None:
    with pytest.raises(Exception, match=r"no|SIGSEGV while it connected") as caught:
        plugins.connect_vim("mischief", {"connects": how}, place(tmp_path))
    assert type(caught.value).__name__ == error


def test_what_lacks_verbs_is_named_as_it_is_in_its_process(plugins: Plugins, tmp_path: Path) -> None:
    lacks = "gave a Half without observe, ensure, remove"
    with pytest.raises(PluginError, match=f"^mischief: mischief {lacks}$") as caught:
        plugins.connect_vim("mischief", {"connects": "half"}, place(tmp_path))
    assert "that is no Vim: report it to mischief (mischief 1)" in caught.value.hint


def test_nothing_stays_after_close(vim: Vim) -> None:
    was = pid(vim)
    vim.close()
    with pytest.raises(ProcessLookupError):
        os.kill(was, 0)


def test_it_ends_with_core_however_core_ends(tmp_path: Path) -> None:
    """Killed, core leaves no verb going on behind the next one's back."""
    script = """
        import os, signal, sys
        from pathlib import Path
        from manor.api import DriverEnvironment
        from manor.plugin import Plugins, PluginSettings, unguarded
        here = Path(sys.argv[1])
        env = DriverEnvironment(name="lab", owner="manor/test", state_dir=here, runtime_dir=here)
        settings = PluginSettings(isolate=frozenset({"manor.fakes.plugin"}))
        vim = Plugins(settings=settings, entry_points=False).connect_vim("fake", {}, env)
        print(unguarded(vim).pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    argv = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as core:
        assert core.stdout is not None
        child = int(core.stdout.readline())
    try:
        ending = os.pidfd_open(child)
    except ProcessLookupError:
        return  # gone already
    try:
        assert select.select([ending], [], [], SECONDS)[0], "the process outlives core"
    finally:
        os.close(ending)


class Inside:
    """A guest of core's."""

    def __init__(self) -> None:
        self.ran: list[list[str]] = []

    def ping(self, ctx: CallContext) -> bool:
        return bool(self.ran)

    def run(self, argv: Any, ctx: CallContext, *, stdin: bytes = b"") -> GuestResult:
        assert ctx.remaining_s() > 0
        self.ran.append(list(argv))
        return GuestResult(exit_code=0, stdout=stdin, stderr=b"")


def test_a_vnf_manager_reaches_its_guests(plugins: Plugins, tmp_path: Path) -> None:
    manager = plugins.connect_vnfm("inside", {}, place(tmp_path))
    vnfc = VnfcView(key="a/vnf/fw/main-0", name="fw", vdu_id="main", index=0)
    vnf = VnfView(id="v", name="fw", service="s", vnfd_id="d", flavour_id="f", vnfcs=(vnfc,))
    inside = Inside()
    assert manager.boot_data(vnf, vnfc).user_data == f"fw in {pid(manager)}"
    assert not manager.health(vnf, {vnfc.key: inside}, within()).ready
    manager.configure(vnf, {vnfc.key: inside}, within())
    assert inside.ran == [["set", vnfc.key]]
    assert manager.health(vnf, {vnfc.key: inside}, within()).ready
    with pytest.raises(Indeterminate, match="SIGKILL"):
        manager.quiesce(vnf, {}, within())
    manager.close()


def test_a_guests_error_reaches_its_manager(plugins: Plugins, tmp_path: Path) -> None:
    class Broken(Inside):
        def run(self, argv: Any, ctx: CallContext, *, stdin: bytes = b"") -> GuestResult:
            raise Transient("no agent", retry_after_s=4.0)

    manager = plugins.connect_vnfm("inside", {}, place(tmp_path))
    vnf = VnfView(id="v", name="fw", service="s", vnfd_id="d", flavour_id="f", vnfcs=())
    with pytest.raises(Transient, match="no agent") as caught:
        manager.configure(vnf, {"k": Broken()}, within())
    assert caught.value.retry_after_s == 4.0
    manager.close()


def test_a_telemetry_source_measures_from_its_own_process(plugins: Plugins, tmp_path: Path) -> None:
    source = plugins.connect_telemetry("pids", {}, place(tmp_path))
    (sample,) = source.collect([Target(key="k", kind="node")], within())
    assert (sample.key, sample.value) == ("k", pid(source))
    source.close()


def test_what_cannot_be_loaded_there_is_refused(tmp_path: Path, plugins: Plugins) -> None:
    nowhere = Plugins(
        builtin=(),
        extra={"nowhere": __import__("mischief")},
        entry_points=False,
        settings=PluginSettings(isolate=frozenset({"nowhere"})),
    )
    with pytest.raises(Indeterminate, match=r"nowhere: connect lab: ModuleNotFoundError"):
        nowhere.connect_vim("mischief", {}, place(tmp_path))


def test_observed_is_observed(vim: Vim) -> None:
    made = vim.ensure(volume("a"), within())
    assert isinstance(made, Observed)
    assert vim.ensure(volume("a"), within()) == made


@pytest.mark.parametrize("verb", sorted(wire.VERBS))
def test_every_verb_of_the_api_can_cross(verb: str) -> None:
    """A type that pydantic cannot read would show only when a driver is isolated."""
    with pytest.raises(ValueError, match="validation error"):
        wire.VERBS[verb].arguments_from_json(b'"none"')
    with pytest.raises(ValueError, match="validation error"):
        wire.VERBS[verb].result_from_json(b'"none"')
