"""Options mean the same at every command."""

import importlib
import inspect
import pkgutil

import manor.cli
from manor.model.instance import OnFailure


def test_what_fails_rolls_back_by_default_but_a_terminate() -> None:
    modules = [importlib.import_module(f"manor.cli.{found.name}") for found in pkgutil.iter_modules(manor.cli.__path__)]
    apps = {id(app): app for module in modules if (app := getattr(module, "app", None)) is not None}
    commands = [
        (command.name or command.callback.__name__, inspect.signature(command.callback).parameters)
        for app in apps.values()
        for command in getattr(app, "registered_commands", ())
    ]
    defaults = [(name, options["on_failure"].default) for name, options in commands if "on_failure" in options]
    assert {"instantiate", "heal", "drift", "action", "revert", "scale", "move"} <= {name for name, _ in defaults}
    assert [name for name, default in defaults if default is not OnFailure.ROLLBACK] == ["terminate"]
