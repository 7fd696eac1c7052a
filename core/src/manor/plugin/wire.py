"""What goes between core and a plugin in a process of its own: verbs, values and errors as frames of JSON.

A frame is a line with its head (who asks what) and a body (arguments or a result). Bodies are read by the types in the
API's own signatures, by pydantic, so neither side can hand the other anything but values of the contract: no pickle,
no code. Framing is :mod:`multiprocessing.connection`'s, on a socket pair that has no name on the file system.
"""

from __future__ import annotations

import inspect
import json
import threading
import typing
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from multiprocessing.connection import Connection
from typing import Any, Protocol

from manor import api, errors
from manor.api import CallContext, Finding, Guest, Observed, spec_from_json, spec_to_json
from manor.errors import ManorError, PluginError
from manor.plugin.guard import PROTOCOLS, describe

__all__ = ["VERBS", "Channel", "Signature", "error_from_json", "error_to_json", "guest_verbs"]


class _Process(Protocol):
    """Not of the API: what a driver with a process of its own may offer, as core looks for it."""

    def shutdown(self, ctx: CallContext, *, force: bool = False) -> bool: ...


_CREATED = (api.Detector, api.HealPolicy, api.PlacementPolicy)
_CONNECTED = (*(protocol for protocol in PROTOCOLS if protocol not in _CREATED), _Process)

_PURE = frozenset({"boot_data", "compile"})
_LOOKS = frozenset(
    {
        "await_events",
        "capabilities",
        "collect",
        "console",
        "guest_ping",
        "health",
        "observe",
        "samples",
        "topology",
        "trace",
    }
)


def _is_spec(hint: Any) -> bool:
    return hint == api.ResourceSpec or set(typing.get_args(hint)) == {api.SegmentSpec, api.ChainSpec}


def _read_as(hint: Any) -> Any:
    """The type to read: an iterable of any kind arrives as a list, a spec by its kind."""
    from pydantic import PlainValidator

    if _is_spec(hint):
        return typing.Annotated[hint, PlainValidator(spec_from_json)]
    if typing.get_origin(hint) in (Iterable, Collection):
        return list[typing.get_args(hint)]  # type: ignore[misc]
    return hint


def _reader(hints: Iterable[Any]) -> Any:
    from pydantic import ConfigDict, TypeAdapter

    shape: Any = tuple[tuple(map(_read_as, hints))]  # type: ignore[misc]
    return TypeAdapter(shape, config=ConfigDict(val_json_bytes="base64"))


@dataclass(frozen=True, kw_only=True)
class Signature:
    """One verb of a protocol, as it stands in the API."""

    name: str
    function: Any

    @cached_property
    def _hints(self) -> dict[str, Any]:
        return typing.get_type_hints(self.function)

    @cached_property
    def _sent(self) -> tuple[str, ...]:
        """Parameters that travel in the body: contexts and guests go their own way."""
        hints = self._hints.items()
        return tuple(n for n, hint in hints if n != "return" and hint is not CallContext and not _is_guests(hint))

    @cached_property
    def _arguments(self) -> Any:
        return _reader(self._hints[name] for name in self._sent)

    @cached_property
    def _result(self) -> Any:
        return _reader([self._hints["return"]])

    @property
    def only_looks(self) -> bool:
        """Whether the verb cannot have had an effect, by its contract."""
        return self.name in _PURE | _LOOKS

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments by name. TypeError where they are not the verb's."""
        bound = inspect.signature(self.function).bind(None, *args, **kwargs)
        bound.apply_defaults()
        return dict(list(bound.arguments.items())[1:])

    def context_of(self, arguments: Mapping[str, Any]) -> tuple[str, CallContext | None]:
        """The context among the arguments with its name."""
        for name, hint in self._hints.items():
            if hint is CallContext:
                return name, arguments.get(name)
        return "", None

    def guests_of(self, arguments: Mapping[str, Any]) -> tuple[str, Mapping[str, Guest]]:
        """The guests among the arguments with their name."""
        for name, hint in self._hints.items():
            if _is_guests(hint):
                return name, arguments.get(name, {})
        return "", {}

    def arguments_to_json(self, arguments: Mapping[str, Any]) -> bytes:
        """A body."""
        return _to_json([_plain(arguments[name], self._hints[name]) for name in self._sent])

    def arguments_from_json(self, body: bytes) -> dict[str, Any]:
        """The arguments by name. ValueError where they are not the verb's."""
        return dict(zip(self._sent, self._arguments.validate_json(body), strict=True))

    def result_to_json(self, result: Any) -> bytes:
        """A body. ValueError for what is no data."""
        return _to_json([list(result) if isinstance(result, Iterable) and _is_lazy(result) else result])

    def result_from_json(self, body: bytes) -> Any:
        """The result. ValueError where it is not what the verb returns."""
        return self._result.validate_json(body)[0]


def _is_guests(hint: Any) -> bool:
    return Guest in typing.get_args(hint)


def _is_lazy(result: Any) -> bool:
    return not isinstance(result, (str, bytes, Mapping)) and not hasattr(result, "__len__")


def _plain(value: Any, hint: Any) -> Any:
    if _is_spec(hint):
        return spec_to_json(value)
    return list(value) if typing.get_origin(hint) in (Iterable, Collection) else value


def _to_json(value: Any) -> bytes:
    from pydantic_core import to_json

    return to_json(value, bytes_mode="base64", inf_nan_mode="constants")


def _signatures(protocols: Iterable[Any]) -> dict[str, Signature]:
    return {
        name: Signature(name=name, function=member)
        for protocol in protocols
        for name, member in vars(protocol).items()
        if inspect.isfunction(member) and not name.startswith("_")
    }


VERBS: Mapping[str, Signature] = _signatures(_CONNECTED)
"""Every verb of what ``connect`` returns."""


def guest_verbs() -> Mapping[str, Signature]:
    """The verbs of a guest, which a VNF manager calls back."""
    return _signatures((Guest,))


# errors


def error_to_json(error: BaseException) -> dict[str, Any]:
    """An error as data: one of ours whole, a stranger's by its name and first line."""
    if not isinstance(error, ManorError):
        name, _, text = describe(error).partition(": ")
        return {"foreign": name, "message": text}
    ours = next(cls for cls in type(error).__mro__ if cls.__module__ == errors.__name__)
    known = _fields(ours)
    return {"class": ours.__name__, **{name: value for name, value in vars(error).items() if name in known}}


_RECORDS = {"findings": Finding, "found": Observed}
"""Fields of errors that are records of the API, by what they are."""


def error_from_json(data: Mapping[str, Any]) -> Exception:
    """The error again; a stranger's under the name that it had, for the guard to give it a meaning."""
    fields = dict(data)
    if "foreign" in fields:
        foreign: type[Exception] = type(str(fields["foreign"]), (Exception,), {})
        return foreign(fields["message"])
    cls = vars(errors).get(str(fields.pop("class", "")))
    if not (inspect.isclass(cls) and issubclass(cls, ManorError)):
        return PluginError("the plugin's process told of an error that is none of ours")
    for name, kind in _RECORDS.items():
        if name in fields:
            from pydantic import TypeAdapter

            fields[name] = TypeAdapter(tuple[kind, ...]).validate_python(fields[name])  # type: ignore[valid-type]
    error: ManorError = cls(fields.pop("message"), **{k: v for k, v in fields.items() if k in _fields(cls)})
    return error


def _fields(cls: type[ManorError]) -> set[str]:
    return set(inspect.signature(cls).parameters)


# frames


@dataclass(kw_only=True)
class Channel:
    """One end of the socket pair. Frames of several threads do not mix; one thread reads."""

    connection: Connection
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, head: Mapping[str, Any], body: bytes = b"") -> None:
        """Send one frame. OSError where the other end is gone."""
        frame = _to_json(head) + b"\n" + body
        with self._lock:
            self.connection.send_bytes(frame)

    def receive(self) -> tuple[dict[str, Any], bytes]:
        """The next frame. EOFError or OSError where the other end is gone."""
        head, _, body = self.connection.recv_bytes().partition(b"\n")
        return json.loads(head), body

    def close(self) -> None:
        """Let go of this end."""
        self.connection.close()
