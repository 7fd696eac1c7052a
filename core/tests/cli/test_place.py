"""Whose place it is to watch over a home that several processes serve."""

import fcntl
import threading
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


def test_who_only_looks_whether_somebody_serves_keeps_nobody_from_it(tmp_path: Path) -> None:
    with open(tmp_path / "serve.lock", "w") as looks:
        fcntl.flock(looks, fcntl.LOCK_SH)
        threading.Timer(0.1, lambda: fcntl.flock(looks, fcntl.LOCK_UN)).start()
        with _Place(tmp_path, "one", is_shared=False):
            assert alive(tmp_path)
