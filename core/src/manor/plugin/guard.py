"""The guard around driver verbs: names, times and counts each call, and gives every failure a meaning.

A driver's own :mod:`manor.errors` pass. Anything else that leaves a verb means *indeterminate*, because a blind
retry of a create is how orphans are born; out of a pure verb, which cannot have changed anything, it means
*permanent*, because equal input fails equally.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

from manor import api
from manor.api import CallContext, ResourceRef
from manor.errors import Indeterminate, ManorError, Permanent
from manor.plugin.counters import Counters

__all__ = ["PROTOCOLS", "VERBS", "describe", "guard", "unguarded", "verbs"]

_T = TypeVar("_T")

PROTOCOLS = tuple(
    thing for thing in vars(api).values() if getattr(thing, "_is_protocol", False) and thing is not api.Guest
)
"""Every protocol that plugins serve; a guest is core's to give."""


def verbs(protocol: Any) -> tuple[str, ...]:
    """The verbs of a protocol."""
    return tuple(name for name, member in vars(protocol).items() if callable(member) and not name.startswith("_"))


VERBS = tuple(dict.fromkeys(verb for protocol in PROTOCOLS for verb in verbs(protocol)))
"""Every verb of every protocol of the API."""

_GIVES: Mapping[str, type[Any]] = {
    "capabilities": api.Capabilities,
    "ensure": api.Observed,
    "apply": api.Observed,
    "topology": api.Topology,
    "compile": api.FlowProgram,
    "boot_data": api.BootData,
    "health": api.Health,
    "console": api.ConsoleInfo,
    "guest_exec": api.GuestResult,
    "await_events": int,
    "dump": bytes,
    "decide": api.HealDecision,
}
"""What a verb's answer must be: else it would fail later and elsewhere, and be taken for a fault of core's."""

_GIVES_MANY: Mapping[str, type[Any]] = {
    "observe": api.Observed,
    "samples": api.Sample,
    "collect": api.Sample,
    "score": api.Score,
    "trace": api.TraceHop,
    "probe": api.Probe,
}
"""The same of each item, where the answer is several."""

_PURE = frozenset({"compile", "boot_data", "place", "decide", "dump"})

_CREDENTIALS = re.compile(r"://[^/@\s]+@")


def describe(error: BaseException) -> str:
    """An exception as one line that is fit for an operator: no traceback, no credentials of a URL."""
    text = str(error).strip().splitlines()
    line = _CREDENTIALS.sub("://***@", text[0])[:300] if text else ""
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


class _Guarded:
    """Holds one guarded function a verb, as instance attributes, so that optional protocols still show."""

    def __init__(self, driver: object, name: str) -> None:
        self._driver = driver
        self._name = name

    def __repr__(self) -> str:
        return f"<guarded {self._name}>"


def guard(driver: _T, *, name: str, counters: Counters) -> _T:
    """A stand-in for ``driver`` whose every verb is guarded; ``name`` is the plugin's, for counts and messages.

    Raises DeadlineExceeded before a call whose context has no time left. KeyboardInterrupt passes.
    """
    proxy = _Guarded(driver, name)
    for verb in VERBS:
        method = getattr(driver, verb, None)
        if callable(method):
            setattr(proxy, verb, _guarded(method, name=name, verb=verb, counters=counters))
    return cast(_T, proxy)


def unguarded(driver: _T) -> _T:
    """The driver itself, for tests and reports; unguarded drivers are returned as they are."""
    return cast(_T, driver._driver) if isinstance(driver, _Guarded) else driver


def _guarded(method: Callable[..., Any], *, name: str, verb: str, counters: Counters) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        ctx = _context(args, kwargs)
        subject = _subject(args, kwargs)
        doing = f"{name}: {verb} {subject}".rstrip()
        with counters.timing(name, verb, subject=subject, deadline_s=ctx.deadline if ctx else None):
            if ctx is not None:
                ctx.check(doing)
            try:
                result = method(*args, **kwargs)
                # A lazy result would raise later, outside of the guard.
                return _meant(verb, list(result) if isinstance(result, Iterator) else result)
            except ManorError:
                raise
            # A stranger's code may raise anything, and even try to exit; the class decides what core does next.
            except (Exception, SystemExit) as error:
                if verb in _PURE:
                    raise Permanent(f"{doing}: {describe(error)}", hint=f"report it to {name}") from error
                raise Indeterminate(
                    f"{doing}: {describe(error)}", hint="it may have happened: a retry looks first what became of it"
                ) from error

    return call


def _meant(verb: str, result: Any) -> Any:
    one, each = _GIVES.get(verb), _GIVES_MANY.get(verb)
    if one is not None and not isinstance(result, one):
        raise TypeError(f"it gave a {type(result).__name__} instead of {one.__name__}")
    if each is not None:
        if not isinstance(result, Iterable) or isinstance(result, str | bytes | Mapping):
            raise TypeError(f"it gave a {type(result).__name__} instead of several {each.__name__}")
        if not isinstance(result, Sequence):
            result = list(result)
        for item in result:
            if not isinstance(item, each):
                raise TypeError(f"it gave a {type(item).__name__} among its {each.__name__} records")
    return result


def _context(args: tuple[Any, ...], kwargs: dict[str, Any]) -> CallContext | None:
    for value in (*args, *kwargs.values()):
        if isinstance(value, CallContext):
            return value
    return None


def _subject(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """What the call is about: the key of the spec, reference, program, target or alarm it is given first."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, ResourceRef):
            return f"{value.kind} {value.key}"
        for attribute in ("key", "resource_key", "id"):
            found = getattr(value, attribute, None)
            if isinstance(found, str):
                kind = getattr(value, "kind", "")
                return f"{kind} {found}".lstrip()
        break
    return ""
