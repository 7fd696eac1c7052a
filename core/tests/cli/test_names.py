import pytest

from manor.cli.names import resolve
from manor.errors import UsageError

THINGS = [("1a2b3c4d", "web"), ("1a2bffff", "mail"), ("77777777", "1a2b"), ("99999999", "")]


def meant(typed: str) -> str:
    return resolve(typed, THINGS, what="service", listing="manor ns list")


@pytest.mark.parametrize(
    ("typed", "id"),
    [("web", "1a2b3c4d"), ("1a2b3c4d", "1a2b3c4d"), ("1a2b3", "1a2b3c4d"), ("9", "99999999"), ("1a2b", "77777777")],
)
def test_a_name_an_id_or_a_unique_start_of_one(typed: str, id: str) -> None:
    assert meant(typed) == id


def test_more_than_one_meant_names_them() -> None:
    with pytest.raises(UsageError, match=r"more than one service: 1a2b3c4d \(web\), 1a2bffff \(mail\)"):
        meant("1a2")


def test_nothing_meant_offers_what_is_near_and_where_to_look() -> None:
    with pytest.raises(UsageError) as caught:
        meant("wep")
    assert "did you mean web?" in caught.value.hint
    assert "manor ns list" in caught.value.hint


def test_nothing_typed_means_nothing() -> None:
    with pytest.raises(UsageError):
        meant("")
