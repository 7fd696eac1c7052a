import pytest

from manor.testing.postgresql import new_postgresql, postgresql

__all__ = ["new_postgresql", "postgresql"]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction that waits for another thread is not taken for a frozen node's, however busy the machine."""
    monkeypatch.setattr("manor.store.database.IDLE_TRANSACTION_S", 60.0)
