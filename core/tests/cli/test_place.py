"""Whose place it is to watch over a home that several processes serve."""

from pathlib import Path

import pytest

from manor.errors import UsageError
from manor.serve import _Place, alive


def test_a_server_of_another_database_is_refused_though_several_of_one_share_a_home(tmp_path: Path) -> None:
    first, second, stranger = (_Place(tmp_path, name, is_shared=True) for name in ("one", "one", "another"))
    with first:
        assert first.name
        with second:
            assert not second.name
            assert not second.take()
            with pytest.raises(UsageError, match="from another database"):
                stranger.__enter__()
            first.leave()
            assert second.take()
            assert alive(tmp_path)
    assert not alive(tmp_path)
