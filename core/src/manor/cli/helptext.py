"""What ``--help`` says of values and commands: the field's words, not Python's types, and whole sentences."""

from __future__ import annotations

from types import MethodType
from typing import Any

from typer.core import TyperArgument, TyperGroup

__all__ = ["tidy"]

_WHOLE = 1000
"""Longer than the first sentence of any command."""


def tidy(command: Any) -> Any:
    """``command`` and all below it with help texts for people; in place."""
    for param in command.params:
        if isinstance(param, TyperArgument):
            _tidy_argument(param)
        elif getattr(param, "metavar", None) is None and not param.is_flag and not param.count:
            param.metavar = _value(param)
        if getattr(param, "count", False):
            param.show_default = False
    if getattr(type(command), "format_commands", None) is TyperGroup.format_commands:
        command.format_commands = MethodType(_format_commands, command)  # type: ignore[method-assign]
    for sub in getattr(command, "commands", {}).values():
        tidy(sub)
    return command


def _value(param: Any) -> str:
    """What an option takes, in one word."""
    shown = str(param.display_type(None)).strip("<>").removeprefix("list[").removesuffix("]")
    if "|" in shown:
        return shown
    if shown in ("path", "Path"):
        return "PATH"
    return "NUMBER" if shown.partition(" ")[0] in ("int", "float") else "TEXT"


def _tidy_argument(param: Any) -> None:
    name = str(param.metavar or param.name.upper())
    if name.startswith("["):
        name = name[1:].removesuffix("]")
    repeats = "" if param.nargs == 1 or name.endswith("...") else "..."
    param.metavar = name + repeats
    usage = param.metavar if param.required else f"[{param.metavar}]"
    param._usage_display_name = lambda: usage
    param.display_type_rich = lambda ctx: None  # noqa: ARG005


def _format_commands(self: Any, ctx: Any, formatter: Any) -> None:
    commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
    rows = [(name, command.get_short_help_str(_WHOLE)) for name, command in commands if command and not command.hidden]
    if rows:
        with formatter.section("Commands"):
            formatter.write_dl(rows)
