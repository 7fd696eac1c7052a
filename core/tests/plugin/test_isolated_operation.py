"""A driver dies by SIGSEGV in the middle of an operation: core lives, looks what was done, and carries on."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import secure_web

from manor.api import OperationKind
from manor.lcm import endpoints, ns
from manor.lcm.runtime import Runtime, open_runtime
from manor.model.instance import EndpointKind, OperationState
from manor.plugin import Plugins, PluginSettings

pytestmark = pytest.mark.slow

FRAGILE = '''
    """The fakes, with a null pointer in one verb, once."""
    import ctypes
    from pathlib import Path

    from manor.api import SdnDriver, VimDriver, hookimpl
    from manor.fakes import FakeSdn, FakeVim, World
    from pydantic import BaseModel

    class Settings(BaseModel):
        breaks: str = ""
        after: bool = False

    def fragile(cls):
        class Fragile(cls):
            def __init__(self, settings, environment):
                super().__init__(World(state_file=environment.state_dir / "world.json"), owner=environment.owner)
                self.settings, self.mark = settings, environment.state_dir / "broke"

            def carefully(self, verb, kind, call):
                due = self.settings.breaks == f"{verb} {kind}" and not self.mark.exists()
                result = call() if self.settings.after or not due else None
                if due:
                    self.mark.touch()
                    ctypes.string_at(0)
                return result

            def ensure(self, spec, ctx):
                return self.carefully("ensure", spec.kind, lambda: super(Fragile, self).ensure(spec, ctx))

            def apply(self, program, ctx):
                return self.carefully("apply", program.kind, lambda: super(Fragile, self).apply(program, ctx))

            def remove(self, ref, ctx):
                return self.carefully("remove", ref.kind, lambda: super(Fragile, self).remove(ref, ctx))

        return Fragile

    @hookimpl
    def manor_vim_drivers():
        yield VimDriver(name="fragile", summary="A VIM.", config=Settings, connect=fragile(FakeVim))

    @hookimpl
    def manor_sdn_drivers():
        yield SdnDriver(name="fragile", summary="A controller.", config=Settings, connect=fragile(FakeSdn))
'''


@pytest.fixture
def rt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    info = tmp_path / "site/fragile-1.dist-info"
    info.mkdir(parents=True)
    (tmp_path / "site/fragile.py").write_text(textwrap.dedent(FRAGILE))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fragile\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[manor.plugins.v1]\nfragile = fragile\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.delitem(sys.modules, "fragile", raising=False)
    image = tmp_path / "image"
    image.write_bytes(b"kernel")
    monkeypatch.setattr("manor.catalog.contents.artifact_path", lambda _home, _sha256: image)
    plugins = Plugins(settings=PluginSettings(isolate=frozenset({"fragile"})))
    with open_runtime(tmp_path / "home", plugins=plugins) as runtime:
        secure_web.onboard(runtime)
        yield runtime


def made(rt: Runtime) -> tuple[int, int]:
    """How many things the fake VIM holds, and how many it ever made; it numbers them all."""
    state = json.loads((rt.environment(EndpointKind.VIM, "lab").state_dir / "world.json").read_text())
    return len(state["natives"]) + len(state["ports"]), state["serial"]


@pytest.mark.parametrize(
    ("where", "after"), [("ensure node", False), ("ensure node", True), ("apply segment", False), ("apply chain", True)]
)
def test_operation_survives_its_driver(rt: Runtime, where: str, after: bool) -> None:
    for kind, name in ((EndpointKind.VIM, "lab"), (EndpointKind.SDN, "net")):
        endpoints.add(rt, kind, name, driver="fragile", config={"breaks": where, "after": after})
    ns.create(rt, "secure-web", name="demo")
    assert secure_web.run(rt, OperationKind.INSTANTIATE) is OperationState.COMPLETED
    assert len(list(rt.home.rglob("broke"))) == 1, "the null pointer was not met"
    there, ever = made(rt)
    assert there == ever, "something was made twice"
    assert ns.propose(rt, "demo", OperationKind.REPAIR).plan.steps == ()
    assert secure_web.run(rt, OperationKind.TERMINATE) is OperationState.COMPLETED
    assert ns.delete(rt, "demo") == ()


def test_a_removal_that_kills_its_driver_is_finished_too(rt: Runtime) -> None:
    endpoints.add(rt, EndpointKind.VIM, "lab", driver="fragile", config={"breaks": "remove node", "after": True})
    endpoints.add(rt, EndpointKind.SDN, "net", driver="fragile", config={"breaks": "remove chain"})
    ns.create(rt, "secure-web", name="demo")
    assert secure_web.run(rt, OperationKind.INSTANTIATE) is OperationState.COMPLETED
    assert secure_web.run(rt, OperationKind.TERMINATE) is OperationState.COMPLETED
    assert len(list(rt.home.rglob("broke"))) == 2
    assert ns.delete(rt, "demo") == ()
    found, silent = endpoints.orphans(rt)
    assert (found, silent) == ([], {})
