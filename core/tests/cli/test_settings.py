from pathlib import Path

import pytest

from manor.cli.settings import redacted, settings
from manor.errors import UsageError


def test_options_lie_over_the_file_and_are_typed_as_yaml(tmp_path: Path) -> None:
    file = tmp_path / "vim.yaml"
    file.write_text("uri: test:///default\npool: {name: a, size: 1}\n")
    found = settings(file, ["pool.size=5", "on=true", "hosts=[a, b]", "empty=", "text=a: b: c"])
    assert found == {
        "uri": "test:///default",
        "pool": {"name": "a", "size": 5},
        "on": True,
        "hosts": ["a", "b"],
        "empty": "",
        "text": "a: b: c",
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a\n", "list, not settings"),
        ("a: [\n", r"vim.yaml:2:1: "),
        ("!!python/object:os.system {}", "could not determine"),
    ],
)
def test_a_file_that_holds_no_settings_is_refused(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "vim.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=says):
        settings(file, [])


def test_a_missing_file_and_a_wrong_option() -> None:
    with pytest.raises(UsageError, match="No such file"):
        settings(Path("/nowhere/x.yaml"), [])
    with pytest.raises(UsageError, match="KEY=VALUE"):
        settings(None, ["novalue"])
    with pytest.raises(UsageError, match="a is a value already"):
        settings(None, ["a=1", "a.b=2"])


def test_secrets_are_not_shown() -> None:
    config = {"user": "u", "password": "p", "api_key": "k", "nested": [{"token": "t", "keyboard": "de"}], "secret": ""}
    assert redacted(config) == {
        "user": "u",
        "password": "***",
        "api_key": "***",
        "nested": [{"token": "***", "keyboard": "de"}],
        "secret": "",
    }
