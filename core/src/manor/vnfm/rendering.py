"""Templates of packages are strangers' programs: they get no internals, no files, and little time and memory.

Jinja's sandbox keeps a template from what is not its own, and does not bound what it costs: two nested loops run for a
day, a doubled text fills the memory. So one that only fills in values, which costs what it is long, is rendered here;
any other in a process of its own that the kernel bounds, about 0.1 s each. The outcome depends on nothing but the
template and its values.
"""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from manor.errors import PlanRefused

if TYPE_CHECKING:
    from jinja2 import Environment, Template, nodes

__all__ = ["render"]

_MOST = 1 << 20
"""Characters of a template, and of what comes of it."""
_CPU_S = 1
_MEMORY_BYTES = 256 << 20
_WALL_S = 60.0
"""A busy host gives a process its seconds late."""

_IS_TEMPLATE = re.compile(r"\{[{%]")
_FILTERS = frozenset({"default", "d", "first", "int", "last", "length", "lower", "string", "trim", "upper"})
_JOIN_MOST = 8


def render(template: str, values: Mapping[str, Any]) -> str:
    """The template with these values, which are as JSON has them, filled in.

    Raises PlanRefused where it is broken, names a value that is not given, or wants too much.
    """
    if not _IS_TEMPLATE.search(template):
        return template
    if len(template) > _MOST:
        raise PlanRefused(f"a template is longer than {_MOST:,} characters")
    try:
        parsed = _environment().parse(template)
        if _is_plain(parsed):
            return _written(_environment().from_string(template), values)
    except PlanRefused:
        raise
    # A template is a stranger's program: it may divide by zero as well as misspell a name.
    except Exception as error:
        raise PlanRefused(str(error) or type(error).__name__) from error
    return _apart(template, values)


@functools.cache
def _environment() -> Environment:
    import jinja2
    import jinja2.sandbox

    return jinja2.sandbox.ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined, autoescape=False, keep_trailing_newline=True
    )


def _written(template: Template, values: Mapping[str, Any]) -> str:
    pieces, left = [], _MOST
    for piece in template.generate(values):
        left -= len(piece)
        if left < 0:
            raise PlanRefused(f"a template makes more than {_MOST:,} characters")
        pieces.append(piece)
    return "".join(pieces)


def _is_plain(node: nodes.Node) -> bool:
    """Whether this only fills in values, some of them on a condition: nothing in it repeats, computes or calls."""
    from jinja2 import nodes

    if isinstance(node, nodes.Filter):
        return node.node is not None and _is_path(node.node) and _is_small(node)
    text = nodes.Template | nodes.Output | nodes.TemplateData | nodes.If | nodes.CondExpr
    if isinstance(node, text | nodes.Not | nodes.And | nodes.Or | nodes.Compare | nodes.Operand):
        return all(_is_plain(child) for child in node.iter_child_nodes())
    if isinstance(node, nodes.Test):
        return node.name in ("defined", "undefined", "none") and _is_path(node.node)
    return _is_path(node)


def _is_path(node: nodes.Node) -> bool:
    from jinja2 import nodes

    if isinstance(node, nodes.Getitem):
        return _is_path(node.node) and isinstance(node.arg, nodes.Const | nodes.Name)
    return isinstance(node, nodes.Const | nodes.Name) or (isinstance(node, nodes.Getattr) and _is_path(node.node))


def _is_small(node: nodes.Filter) -> bool:
    """Whether what this filter makes is no longer than what it is given."""
    from jinja2 import nodes

    if node.kwargs or node.dyn_args or node.dyn_kwargs or not all(isinstance(arg, nodes.Const) for arg in node.args):
        return False
    if node.name == "join":
        return all(isinstance(arg, nodes.Const) and len(str(arg.value)) <= _JOIN_MOST for arg in node.args)
    return node.name in _FILTERS


def _apart(template: str, values: Mapping[str, Any]) -> str:
    environment = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    try:
        done = subprocess.run(  # noqa: S603 - a list, no shell
            [sys.executable, "-P", "-m", __name__],
            input=json.dumps([template, values], default=dict).encode(),
            capture_output=True,
            env=environment,
            timeout=_WALL_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PlanRefused("a template takes too long") from error
    try:
        outcome: dict[str, str] = json.loads(done.stdout)
    except ValueError as error:
        raise PlanRefused(f"a template wants more than {_CPU_S} s or {_MEMORY_BYTES >> 20} MiB") from error
    if "text" not in outcome:
        raise PlanRefused(outcome["error"])
    return outcome["text"]


def _main() -> None:
    """Render what stdin holds, within bounds that the kernel keeps."""
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    template, values = json.load(sys.stdin)
    try:
        outcome = {"text": _written(_environment().from_string(template), values)}
    except MemoryError:
        outcome = {"error": f"a template wants more than {_MEMORY_BYTES >> 20} MiB"}
    except PlanRefused as error:
        outcome = {"error": error.message}
    except Exception as error:  # as in render
        outcome = {"error": (str(error) or type(error).__name__)[:500]}
    json.dump(outcome, sys.stdout)


if __name__ == "__main__":
    _main()
