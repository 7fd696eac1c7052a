"""The operator's settings while somebody saves them: what he forbade is not allowed for the blink of an eye."""

from pathlib import Path

import pytest

from manor.assure import settings
from manor.assure.settings import FILE, AssuranceSettings, Mode, SettingsFile


def test_a_file_that_is_just_being_saved_is_taken_when_it_is_whole(tmp_path: Path) -> None:
    path, file = tmp_path / FILE, SettingsFile(tmp_path)
    path.write_text("static_mode: 'off'\n")
    assert file.read().static_mode is Mode.OFF
    for begins in (lambda: path.write_text(""), path.unlink):  # as editors save, in place or with the old one put aside
        begins()
        assert file.read().static_mode is Mode.OFF
        path.write_text("static_mode: shadow\n")
        assert file.read().static_mode is Mode.SHADOW
        path.write_text("static_mode: 'off'\n")
        assert file.read().static_mode is Mode.OFF


def test_what_changes_while_it_is_read_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, file, read = tmp_path / FILE, SettingsFile(tmp_path), settings.read_settings
    path.write_text("static_mode: 'off'\n")
    file.read()

    def emptied(home: Path) -> AssuranceSettings:
        path.write_text("")
        return read(home)

    path.write_text("static_mode: shadow\n")
    with monkeypatch.context() as patched:
        patched.setattr(settings, "read_settings", emptied)
        assert file.read().static_mode is Mode.OFF
    path.write_text("static_mode: shadow\n")
    assert file.read().static_mode is Mode.SHADOW


def test_a_file_that_stays_empty_or_away_says_what_no_file_says(tmp_path: Path) -> None:
    path = tmp_path / FILE
    for end in (lambda: path.write_text(""), path.unlink):
        file = SettingsFile(tmp_path)
        path.write_text("static_mode: 'off'\n")
        assert file.read().static_mode is Mode.OFF
        end()
        file.read()
        assert file.read() == AssuranceSettings()
