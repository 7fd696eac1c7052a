"""Typer turns every argument into its type by way of pydantic, which takes longer to import than most commands take to
run. Words, numbers, paths and choices need none of it: :func:`lighten` converts them here and leaves the rest alone."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

import typer

__all__ = ["lighten"]

Convert = Callable[[Any], Any]

_MOST = 2**63 - 1
"""The largest whole number that a database takes."""


class _Plain:
    """Stands in for Typer's runtime parameter."""

    def __init__(self, convert: Convert) -> None:
        self._convert = convert

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value as the function wants it. Raises BadParameter saying what would do."""
        if value is None:
            return () if param.multiple or param.nargs == -1 else None
        try:
            return self._convert(value)
        except ValueError as error:
            raise typer.BadParameter(str(error), ctx=ctx, param=param) from error


def lighten(command: Any) -> Any:
    """``command`` with plain conversions wherever they do what Typer's own would; in place."""
    for param in command.params:
        _lighten(param)
    made_later = command.get_help_option

    def help_option(ctx: Any) -> Any:
        option = made_later(ctx)
        if option is not None:
            _lighten(option)
        return option

    command.get_help_option = help_option
    for sub in getattr(command, "commands", {}).values():
        lighten(sub)
    return command


def _lighten(param: Any) -> None:
    descriptor = getattr(param, "type_descriptor", None)
    convert = _converter(descriptor.annotation, descriptor.parameter_info) if descriptor else None
    if convert is not None:
        plain = _Plain(convert)
        param.get_runtime_param = lambda: plain


def _converter(annotation: Any, info: Any) -> Convert | None:
    if info.parser is not None or info.clamp:
        return None
    if get_origin(annotation) is list:
        each = _converter(get_args(annotation)[0], info)
        return (lambda value: [each(item) for item in value]) if each else None
    if annotation is bool:
        return _flag
    if annotation is str:
        return str
    if annotation is int or annotation is float:
        return _number(annotation, info.min, info.max)
    if annotation is Path and not (info.exists or info.resolve_path or info.writable):
        return _path
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return _choice(annotation)
    return None


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("1", "true", "yes", "on", "y", "t"):
        return True
    if str(value).lower() in ("0", "false", "no", "off", "n", "f", ""):
        return False
    raise ValueError(f"'{value}' is neither true nor false")


def _path(value: Any) -> Path:
    if value == "":  # what a script's unset variable leaves; Path would take it for the current directory
        raise ValueError("no path is given")
    return Path(value)


def _number(kind: type[int] | type[float], least: float | None, most: float | None) -> Convert:
    def convert(value: Any) -> int | float:
        try:
            number = kind(value)
        except ValueError:
            raise ValueError(f"'{value}' is not a {'whole ' if kind is int else ''}number") from None
        if isinstance(number, float) and not math.isfinite(number):
            raise ValueError(f"'{value}' is not a number")
        if abs(number) > _MOST:
            raise ValueError(f"{value} is not a number that there can be")
        if (least is not None and number < least) or (most is not None and number > most):
            bounds = [f"{least} or more"] if least is not None else []
            bounds += [f"{most} or less"] if most is not None else []
            raise ValueError(f"{number} is not {' and '.join(bounds)}")
        return number

    return convert


def _choice(kind: type[Enum]) -> Convert:
    values = {str(member.value): member for member in kind}

    def convert(value: Any) -> Enum:
        if isinstance(value, kind):
            return value
        if str(value) in values:
            return values[str(value)]
        near = difflib.get_close_matches(str(value), values, n=1)
        guess = f"did you mean {near[0]}?" if near else f"it takes {', '.join(values)}"
        raise ValueError(f"'{value}' is not one of them; {guess}")

    return convert
