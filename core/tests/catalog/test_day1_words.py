"""Day-1 commands as words: shell quoting, and a template is part of the word in which it stands."""

from pathlib import Path

import pytest

from manor.catalog.validate import validate
from manor.model.vnfd import Vnfd

VNFD = """
vnfd:
  id: shop
  version: "1"
  vdu: [{{id: app, day1: ["{line}"]}}]
  df: [{{id: default, vdu-profile: [{{id: app}}]}}]
"""


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "app-config set database {{ vnfs.db.addresses.eth[0] }}",
            ("app-config", "set", "database", "{{ vnfs.db.addresses.eth[0] }}"),
        ),
        (
            "join --to={{ vnfs.db.addresses.eth | join(',') }}:80",
            ("join", "--to={{ vnfs.db.addresses.eth | join(',') }}:80"),
        ),
        ("sh -c 'echo {{ a }} {{ b }}' '{{ c }}'", ("sh", "-c", "echo {{ a }} {{ b }}", "{{ c }}")),
        ("echo \ue000 {{ a }} {{", ("echo", "\ue000", "{{ a }}", "{{")),
    ],
)
def test_a_template_is_part_of_its_word(tmp_path: Path, line: str, words: tuple[str, ...]) -> None:
    (tmp_path / "vnfd.yaml").write_text(VNFD.format(line=line))
    (item,) = validate([tmp_path / "vnfd.yaml"])
    assert item.reading is not None
    assert isinstance(item.reading.descriptor, Vnfd)
    assert item.reading.descriptor.flavours[0].vdus[0].day1 == (words,)
