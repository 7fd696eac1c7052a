"""Of several ``manor serve`` on one home one watches: the others would write the same files and tell the same twice."""

from pathlib import Path

from manor.assure.loop import Assurance
from manor.lcm.runtime import open_runtime
from manor.plugin import Plugins


def test_one_that_stands_by_measures_nothing_until_it_is_its_turn(tmp_path: Path) -> None:
    turn = [""]
    with open_runtime(tmp_path, plugins=Plugins(entry_points=False)) as rt:
        assurance = Assurance(rt, watches_as=lambda: turn[0])
        for name in ("", "home"):
            turn[0] = name
            assurance.round()
            assurance.measure()
            assert (tmp_path / "history.db").exists() is bool(name)
        assurance.stop()
