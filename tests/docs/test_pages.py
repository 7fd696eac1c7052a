"""Every page: Python compiles and runs where it says so, and every ``manor`` command line exists with its options."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from manor.cli.plugged import import_target
from manor.cli.root import Lazy, PluginLazy, app

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT)
    for pattern in (
        "README.md",
        "docs/**/*.md",
        "descriptors/**/*.md",
        "core/README.md",
        "plugins/*/README.md",
        "examples/*/README.md",
    )
    for path in ROOT.glob(pattern)
)
_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<code>.*?)^(?P=indent)```\s*$", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"`(manor [^`\n]+)`")
_PROMPT = re.compile(r"^(?:[$#] )?(?:sudo )?((?:\S*/)?manor [a-z-].*)$")
_SHELL = ("", "sh", "shell", "bash", "console", "text")


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    for found in _FENCE.finditer((ROOT / page).read_text()):
        yield found["info"].strip(), found["code"]


def command_lines(page: Path) -> Iterator[str]:
    """Every ``manor …`` in the page: in shell blocks, in indented blocks, and in the text between backquotes."""
    text = (ROOT / page).read_text()
    bare = _FENCE.sub("", text)
    yield from _INLINE.findall(bare)
    shell = [line for info, code in blocks(page) if info.partition(" ")[0] in _SHELL for line in code.splitlines()]
    indented = [line for line in bare.splitlines() if line.startswith("    ")]
    for line in (*shell, *indented):
        if "   " in line.partition("#")[0].strip():
            continue  # a drawing or a table
        for part in re.split(r"&&|\|\||[;|]", line):
            if found := _PROMPT.match(part.strip()):
                yield found[1]


def words(line: str) -> list[str]:
    line = line.partition(" # ")[0].replace("…", "...")
    try:
        return shlex.split(line)[1:]
    except ValueError:
        return line.split()[1:]


def known(group: Any, name: str) -> Any:
    """The command of this name, really imported; None where there is none."""
    command = group.get_command(None, name)
    if isinstance(command, PluginLazy):
        return get_command(import_target(name))
    if isinstance(command, Lazy):
        module, _, attribute = command.target.partition(":")
        return get_command(getattr(importlib.import_module(module), attribute))
    return command


def unknown(line: str) -> str:
    """What of this command line the real one does not have; empty where all is there."""
    command: Any = get_command(app)
    options = {option for parameter in command.params for option in parameter.opts}
    rest = words(line)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return ""
        if word.startswith("-"):
            if word.partition("=")[0] not in {*options, "--help", "-h"}:
                return f"no option {word}"
        elif hasattr(command, "commands"):
            chosen = [known(command, each) for each in word.split("|")]
            if word.isupper() or word.startswith(("<", "[", "...")) or not word.isascii():
                return ""
            if None in chosen:
                return f"no command {word!r}"
            command = chosen[0]
            options |= {option for parameter in command.params for option in parameter.opts}
    return ""


def test_there_are_pages() -> None:
    assert {Path("docs/hooks.md"), Path("docs/writing-a-plugin.md")} <= set(PAGES)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_python_compiles_and_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number, (info, code) in enumerate(blocks(page), start=1):
        language, _, mark = info.partition(" ")
        if language == "python":
            compiled = compile(code, f"{page}, block {number}", "exec")
            if mark == "run":
                exec(compiled, {"__name__": "example"})


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_commands_exist(page: Path) -> None:
    wrong = {line: unknown(line) for line in command_lines(page)}
    assert not {line: why for line, why in wrong.items() if why}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("manor plugin list", ""),
        ("manor ns plan shop", ""),
        ("manor vim|sdn list", ""),
        ("manor vnf exec shop/client -- wget --quiet", ""),
        ("manor plugin lost", "no command 'lost'"),
        ("manor ns plan shop --sideways", "no option --sideways"),
    ],
)
def test_the_check_itself_sees_what_is_wrong(line: str, why: str) -> None:
    assert unknown(line) == why


def test_commands_are_found_wherever_they_stand(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "`manor a`\n\n```sh\n$ manor b && manor c  # why\nls | manor d\n```\n\n    manor e\n\nmanor is a noun\n"
    )
    assert [words(line) for line in command_lines(page)] == [["a"], ["b"], ["c"], ["d"], ["e"]]
