"""docs/hooks.md says of every hook and protocol what the code says: signature, section, an example that runs."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
import types
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from manor import api
from manor.api import EventSpecs, ProviderSpecs, ReviewSpecs
from manor.plugin import Plugins, PluginSettings, PluginState

PAGE = Path(__file__).parents[2] / "docs/hooks.md"
HOOKS = {
    name: getattr(specs, name)
    for specs in (ProviderSpecs, ReviewSpecs, EventSpecs)
    for name in vars(specs)
    if name.startswith("manor_")
}
PROTOCOLS = {
    name: thing for name, thing in vars(api).items() if inspect.isclass(thing) and getattr(thing, "_is_protocol", False)
}
LABELS = ("Called", "Process", "On error", "Since")
_FENCE = re.compile(r"^```(\S+)( run)?\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@cache
def sections() -> dict[str, str]:
    parts = re.split(r"^## (\S+)\n", PAGE.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def documented(name: str) -> ast.stmt:
    _, run, code = _FENCE.findall(sections()[name])[0]
    assert not run, f"{name}: the first block is the signature"
    (statement,) = ast.parse(code).body
    return statement


def example(name: str) -> dict[str, Any]:
    blocks = [code for _, run, code in _FENCE.findall(sections()[name]) if run]
    assert blocks, f"{name} has no example that runs"
    namespace: dict[str, Any] = {"__name__": f"example_{name}"}
    for code in blocks:
        exec(compile(code, f"{PAGE}:{name}", "exec"), namespace)
    return namespace


def signature(function: ast.FunctionDef) -> str:
    """The signature without ``self`` and without the modules that annotations come from."""
    arguments = [argument for argument in function.args.args if argument.arg != "self"]
    function.args.args = arguments
    text = f"{function.name}({ast.unparse(function.args)}) -> {ast.unparse(function.returns)}"
    return re.sub(r"\b(records|plan|assure)\.(?=[A-Z])", "", text)


def of_source(thing: Any) -> ast.AST:
    return ast.parse(textwrap.dedent(inspect.getsource(thing))).body[0]


def test_page_has_a_section_for_everything_and_nothing_else() -> None:
    assert list(sections()) == [*HOOKS, *(name for name in sections() if name in PROTOCOLS)]
    assert set(sections()) == {*HOOKS, *PROTOCOLS}


@pytest.mark.parametrize("name", HOOKS)
def test_hook_is_documented_as_it_is(name: str) -> None:
    function = of_source(inspect.unwrap(HOOKS[name]))
    written = documented(name)
    assert isinstance(function, ast.FunctionDef)
    assert isinstance(written, ast.FunctionDef)
    assert signature(written) == signature(function)
    missing = [label for label in LABELS if f"- **{label}:**" not in sections()[name]]
    assert not missing, f"{name} does not say {missing}"


@pytest.mark.parametrize("name", HOOKS)
def test_example_of_a_hook_is_a_plugin(name: str) -> None:
    module = types.ModuleType(f"example_{name}")
    vars(module).update(example(name))
    host = Plugins(builtin=(), extra={"example": module}, entry_points=False, settings=PluginSettings())
    (info,) = host.listing()
    assert (info.state, info.error) == (PluginState.READY, "")
    assert list(info.provides) == [name]
    if name in vars(ProviderSpecs):
        assert info.provides[name], "the example provides nothing"


def test_examples_of_reviews_and_events_do_what_they_say() -> None:
    plan = api.Plan(operation=api.OperationKind.TERMINATE, service_id="s", service_name="gold-shop", steps=())
    gold = api.ServiceView(id="s", name="gold-shop", nsd_id="n", state="INSTANTIATED")
    (finding,) = example("manor_review_plan")["manor_review_plan"](plan, gold)
    assert finding.severity is api.Severity.ERROR
    (finding,) = example("manor_review_descriptor")["manor_review_descriptor"]({"kind": "vnfd"})
    assert finding.code == "no-provider"
    told = example("manor_operation_event")
    told["manor_operation_event"](
        api.OperationEvent(
            operation_id="o", operation=api.OperationKind.HEAL, service_id="s", state="COMPLETED", time_s=1.0
        )
    )
    assert told["SEEN"] == ["HEAL of s is COMPLETED"]
    told = example("manor_alarm_event")
    told["manor_alarm_event"](
        api.Alarm(
            id="a", managed_object_id="m", resource_key="k", perceived_severity=api.PerceivedSeverity.MAJOR,
            probable_cause="node-down", alarm_raised_time_s=1.0, learned=False,
        )
    )  # fmt: skip
    assert told["SEEN"] == ["MAJOR: node-down on k"]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_protocol_is_documented_as_it_is(name: str) -> None:
    source, written = of_source(PROTOCOLS[name]), documented(name)
    assert isinstance(source, ast.ClassDef)
    assert isinstance(written, ast.ClassDef)
    assert written.name == name

    def verbs(cls: ast.ClassDef) -> list[str]:
        return [signature(member) for member in cls.body if isinstance(member, ast.FunctionDef)]

    assert verbs(written) == verbs(source)
    for line in verbs(source):
        assert f"| `{line.partition('(')[0]}` |" in sections()[name], "each verb has its line: when, errors"


@pytest.mark.parametrize("name", PROTOCOLS)
def test_example_of_a_protocol_runs(name: str) -> None:
    assert example(name)
