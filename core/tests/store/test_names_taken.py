"""A name that another process takes between the look and the write is refused in words, like any that is taken."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from manor.errors import UsageError
from manor.model.instance import Endpoint, EndpointKind, NsInstance
from manor.store import endpoints, instances
from manor.store.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path / "m.db")
    yield opened
    opened.close()


def test_an_endpoint(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Endpoint(kind=EndpointKind.VIM, name="lab", driver="fake")
    with database.begin() as tx:
        endpoints.add(tx, lab)
    monkeypatch.setattr(endpoints, "find", lambda *_: None)  # as it looked before the other one wrote
    with pytest.raises(UsageError, match="a vim named lab is there already"), database.begin() as tx:
        endpoints.add(tx, lab)


def test_a_service(database: Database) -> None:
    with database.begin() as tx:
        instances.add(tx, NsInstance(id="0a0b0c0d", name="demo", nsd_id="n", nsd_package="p", flavour_id=""))
    same = NsInstance(id="0a0b0c0d", name="other", nsd_id="n", nsd_package="p", flavour_id="")
    with pytest.raises(UsageError, match="is there already"), database.begin() as tx:
        instances.add(tx, same)
