"""The contract, frozen: whatever changes in ``manor.api`` or ``manor.errors`` shows as a diff that is reviewed.

After a change that is meant: ``python tests/test_api_snapshot.py`` writes the snapshot anew.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import manor.api
import manor.errors

SNAPSHOT = Path(__file__).with_suffix(".txt")
HOW = "python tests/test_api_snapshot.py"


def test_the_contract_is_as_agreed() -> None:
    expected, actual = SNAPSHOT.read_text().splitlines(), snapshot().splitlines()
    diff = "\n".join(difflib.unified_diff(expected, actual, "agreed", "now", lineterm=""))
    assert not diff, f"manor.api changed. If that is meant: {HOW}\n{diff}"


def test_everything_public_is_exported() -> None:
    for module in (manor.api, manor.errors):
        for name in module.__all__:
            assert hasattr(module, name), f"{module.__name__}.__all__ names {name}, which is not there"
        assert len(set(module.__all__)) == len(module.__all__)
        for name, member in vars(module).items():
            own = getattr(member, "__module__", "").startswith(module.__name__)
            if own and not name.startswith("_"):
                assert name in module.__all__, f"{module.__name__}.{name} is public and not in __all__"


def snapshot() -> str:
    """Every public name with its fields, defaults, members or signature, one a line."""
    lines = []
    for module in (manor.api, manor.errors):
        lines += list(_module(module))
    return "\n".join(lines) + "\n"


def _module(module: ModuleType) -> Iterator[str]:
    for name in sorted(module.__all__):
        yield from _member(f"{module.__name__}.{name}", getattr(module, name))


def _member(name: str, member: Any) -> Iterator[str]:
    if inspect.isclass(member):
        yield f"class {name}({', '.join(base.__qualname__ for base in member.__bases__)})"
        yield from sorted(_class(member))
    elif inspect.isfunction(member):
        yield f"def {name}{inspect.signature(member)}"
    else:
        yield f"{name} = {_shown(member)}"


def _class(cls: type) -> Iterator[str]:
    if issubclass(cls, enum.Enum):
        yield from (f"    {member.name} = {member.value!r}" for member in cls)
        return
    if dataclasses.is_dataclass(cls):
        for field in dataclasses.fields(cls):
            yield f"    {field.name}: {field.type}{_default(field)}"
    for name, member in vars(cls).items():
        function = getattr(member, "__func__", member)
        if inspect.isfunction(function) and (name == "__init__" or not name.startswith("_")):
            if not (name == "__init__" and dataclasses.is_dataclass(cls)) and function.__module__ != "typing":
                yield f"    def {name}{inspect.signature(function)}"
        elif isinstance(member, property):
            yield f"    property {name}"


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return f" = {_shown(field.default)}"
    if field.default_factory is not dataclasses.MISSING:
        return f" = {getattr(field.default_factory, '__qualname__', '')}()"
    return ""


def _shown(value: Any) -> str:
    """A value without what differs from run to run."""
    if callable(value):
        return getattr(value, "__qualname__", type(value).__qualname__)
    return f"<{type(value).__qualname__}>" if " at 0x" in repr(value) else repr(value)


if __name__ == "__main__":
    SNAPSHOT.write_text(snapshot())
    print(f"{SNAPSHOT} is written anew")
