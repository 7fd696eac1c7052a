"""Whether a plugin tells the truth about its hooks. One lie quarantines it whole, with a line a person can act on.

pluggy alone accepts a misspelt hook, never passes keyword-only arguments, and calls a coroutine without awaiting it.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from manor.api import EventSpecs, ProviderSpecs, ReviewSpecs
from manor.errors import PluginError

__all__ = ["EVENTS", "HOOKS", "PROVIDERS", "REVIEWS", "implemented", "validate"]


def _arguments(specs: type) -> dict[str, tuple[str, ...]]:
    return {
        name: tuple(inspect.signature(member).parameters)[1:]
        for name, member in vars(specs).items()
        if name.startswith("manor_")
    }


PROVIDERS = _arguments(ProviderSpecs)
REVIEWS = _arguments(ReviewSpecs)
EVENTS = _arguments(EventSpecs)
HOOKS: Mapping[str, tuple[str, ...]] = {**PROVIDERS, **REVIEWS, **EVENTS}
"""Argument names of every hook."""


def implemented(plugin: object) -> dict[str, Callable[..., Any]]:
    """The functions of ``plugin`` that carry ``@hookimpl``, by hook name."""
    found = {}
    for name in dir(plugin):
        member = inspect.getattr_static(plugin, name)
        member = getattr(member, "__func__", member)
        options = getattr(member, "manor_impl", None) if inspect.isroutine(member) else None
        if isinstance(options, dict):
            found[options.get("specname") or name] = getattr(plugin, name)
    return found


def validate(plugin: object) -> dict[str, Callable[..., Any]]:
    """The hooks of ``plugin``, all of them sound. Raises PluginError at the first that is not."""
    if inspect.isclass(plugin):
        raise PluginError(f"the entry point names the class {plugin.__name__}", hint="name a module or an instance")
    hooks = implemented(plugin)
    for name, function in sorted(hooks.items()):
        _validate_hook(name, function)
    for name in HOOKS:
        if name not in hooks and callable(getattr(plugin, name, None)):
            raise PluginError(f"{name} is not marked as a hook", hint="put @hookimpl (from manor.api) above it")
    return hooks


def _validate_hook(name: str, function: Callable[..., Any]) -> None:
    where = _where(function)
    if name not in HOOKS:
        close = difflib.get_close_matches(name, HOOKS, n=1)
        raise PluginError(
            f"unknown hook {name}{where}",
            hint=f"did you mean {close[0]}?" if close else "see the list of hooks in docs/hooks.md",
        )
    options = getattr(function, "manor_impl", {})
    if options.get("wrapper") or options.get("hookwrapper"):
        raise PluginError(f"{name}{where} is a hook wrapper", hint="return or yield records instead")
    if options.get("tryfirst") or options.get("trylast"):
        raise PluginError(f"{name}{where} asks for an order", hint="hooks have none; drop tryfirst and trylast")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise PluginError(
            f"{name}{where} is a coroutine",
            hint="hooks are plain functions; a plugin that needs asyncio runs its own loop inside",
        )
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            raise PluginError(f"{name}{where} takes {parameter}", hint="hook arguments are plain ones, called by name")
        if parameter.name not in HOOKS[name] and parameter.default is parameter.empty:
            known = ", ".join(HOOKS[name]) or "none"
            raise PluginError(
                f"{name}{where} wants the argument {parameter.name!r}", hint=f"this hook's arguments: {known}"
            )


def _where(function: Callable[..., Any]) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f" ({code.co_filename}:{code.co_firstlineno})" if code else ""
