"""What looking costs when somebody does not answer."""

import time
from pathlib import Path

import pytest

from manor.assure import looking
from manor.assure.looking import Looking
from manor.fakes import Action, Fault
from manor.lcm import endpoints
from manor.lcm.runtime import open_runtime
from manor.model.instance import EndpointKind
from manor.plugin import unguarded


@pytest.mark.slow
def test_who_hangs_delays_the_others_once_and_never_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "LOOK_S", 5.0)
    with open_runtime(tmp_path / "home") as rt:
        for name in ("good", "stuck"):
            config = {"state_file": str(tmp_path / f"{name}.json"), "hosts": [{"name": f"{name}-1"}]}
            endpoints.add(rt, EndpointKind.VIM, name, driver="fake", config=config)
        looks, both = Looking(rt), ("vim:good", "vim:stuck")
        assert looks.look(both).observed.keys() == set(both)
        unguarded(rt.vim("stuck")).world.inject(Fault(verb="observe", action=Action.HANG, times=0))  # type: ignore[attr-defined]
        assert looks.look(both).silent.keys() == {"vim:stuck"}

        began_s = time.monotonic()
        for _ in range(3):
            assert (seen := looks.look(both)).silent.keys() == {"vim:stuck"}
            assert seen.observed.keys() == {"vim:good"}
        assert time.monotonic() - began_s < 5.0, "none of the three looks waited for who hangs"

        unguarded(rt.vim("stuck")).world.heal()  # type: ignore[attr-defined]
        while looks.look(both).silent:
            assert time.monotonic() - began_s < 60.0, "it is heard again"
        looks.close()
