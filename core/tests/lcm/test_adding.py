"""An endpoint that is not taken leaves nothing behind: not what its driver ran for it either."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from pydantic import BaseModel

from manor.api import CallContext, Capabilities, DriverEnvironment, SdnDriver, hookimpl
from manor.errors import Permanent
from manor.fakes import FakeSdn
from manor.lcm import endpoints
from manor.lcm.runtime import Runtime, open_runtime
from manor.model.instance import EndpointKind
from manor.plugin import Plugins, PluginSettings


class Settings(BaseModel):
    shuts_down: bool = True


class WithAgent(FakeSdn):
    """A controller whose agent runs from the first question on, and that has another's switch."""

    def __init__(self, settings: Settings, agents: set[str], name: str) -> None:
        super().__init__()
        self.settings, self.agents, self.name = settings, agents, name

    def capabilities(self, ctx: CallContext) -> Capabilities:
        self.agents.add(self.name)
        raise Permanent("bridge br-manor is the controller net's")

    def shutdown(self, ctx: CallContext, *, force: bool = False) -> bool:
        if not self.settings.shuts_down:
            raise ValueError("it has no time")
        self.agents.discard(self.name)
        return True


class Plugin:
    def __init__(self) -> None:
        self.agents: set[str] = set()

    @hookimpl
    def manor_sdn_drivers(self) -> Iterable[SdnDriver]:
        def connect(settings: Settings, environment: DriverEnvironment) -> WithAgent:
            return WithAgent(settings, self.agents, environment.name)

        yield SdnDriver(name="with-agent", summary="", config=Settings, connect=connect)


@pytest.mark.parametrize("shuts_down", [True, False])
def test_a_controller_that_is_refused_leaves_no_agent(tmp_path: Path, shuts_down: bool) -> None:
    plugin = Plugin()
    plugins = Plugins(extra={"agents": plugin}, entry_points=False, settings=PluginSettings())

    def registered(rt: Runtime) -> int:
        with rt.store.read() as tx:
            from manor.store import endpoints as kept

            return len(kept.all_of(tx))

    with open_runtime(tmp_path / "home", plugins=plugins) as rt:
        with pytest.raises(Permanent, match="is the controller net's"):
            endpoints.add(rt, EndpointKind.SDN, "two", driver="with-agent", config={"shuts_down": shuts_down})
        assert registered(rt) == 0
    assert plugin.agents == (set() if shuts_down else {"two"})
