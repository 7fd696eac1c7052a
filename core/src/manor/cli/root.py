"""The ``manor`` command itself: global options, groups that are imported only when run, and the end of every error."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from manor.cli.exits import ExitCode, exit_code
from manor.cli.helptext import tidy
from manor.cli.output import Output
from manor.cli.plain import lighten
from manor.cli.session import Session, default_home
from manor.errors import UsageError

__all__ = ["BUILTIN", "hoist", "run"]

BUILTIN: dict[str, tuple[str, str]] = {
    "package": ("manor.cli.package:app", "VNF and NS packages: validate, onboard, list, show, delete"),
    "ns": ("manor.cli.ns:app", "Network services: create, instantiate, show, heal, scale, update, terminate"),
    "vnf": ("manor.cli.vnf:app", "VNFs: show, heal, stop, scale, upgrade, move, snapshot, run a program inside"),
    "chain": ("manor.cli.chain:app", "Service function chains: show, verify, trace, counters, disable, enable"),
    "alarm": ("manor.cli.alarm:app", "Alarms: what is wrong, what was decided about it, and why"),
    "heal": ("manor.cli.heal:app", "Heals: what was decided about alarms, and your word where it waits for it"),
    "kpi": ("manor.cli.kpi:app", "KPIs of machines, links and chains: list, show, plot, export"),
    "pm": ("manor.cli.pm:app", "Performance management: PM jobs with reports, thresholds that raise alarms"),
    "metrics": ("manor.cli.metrics:app", "What Prometheus and Grafana need: rules, dashboards, service discovery"),
    "events": ("manor.cli.events:app", "What happened, as ETSI's notifications; --follow goes on"),
    "subscription": ("manor.cli.subscription:app", "Who is told of it by webhook: create, list, delete"),
    "op": ("manor.cli.op:app", "Operations: list, watch, timeline, retry, rollback, continue, fail, cancel"),
    "vim": ("manor.cli.vim:app", "VIMs, where machines run: add, list, show, check, remove, orphans"),
    "sdn": ("manor.cli.sdn:app", "SDN controllers, which steer traffic: add, list, show, check, remove"),
    "plugin": ("manor.cli.plugin:app", "Plugins: what is installed, what it provides, what is wrong with it"),
    "doctor": ("manor.cli.doctor:app", "Check this machine and say how to mend it"),
    "serve": ("manor.cli.serve:app", "Run the long-running process: operations, housekeeping"),
    "db": ("manor.cli.db:app", "The database: where it is, upgrade, backup"),
}
"""Where each built-in command lives, and its line in the help."""

GRAFTED = {"assurance": {"report": ("manor.cli.balance:app", "How well alarms and heals did over a period")}}
"""Core's own commands in groups that plugins bring, by the group's name."""


def hoist(argv: Sequence[str]) -> list[str]:
    """``argv`` with the global flags of output in front, so that they may stand anywhere before ``--``.

    A plugin's command keeps its arguments as they are: its flags are its own.
    """
    args = list(argv)
    end = args.index("--") if "--" in args else len(args)
    command = next((arg for arg in args[:end] if arg in BUILTIN), None)
    if command is None:
        return args
    front = [a for a in args[:end] if a in ("--json", "--verbose") or (a[:2] == "-v" and set(a[1:]) == {"v"})]
    return [*front, *(a for a in args[:end] if a not in front), *args[end:]]


class Lazy(TyperGroup):
    """A command known by name and help line; the real one is imported when it is entered."""

    def __init__(self, name: str, target: str, help: str) -> None:
        super().__init__(name=name, help=help)
        self.target = target

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context of the real command, which then does everything else."""
        module, _, attribute = self.target.partition(":")
        real = tidy(lighten(get_command(getattr(importlib.import_module(module), attribute or "app"))))
        real.name = self.name
        return real.make_context(info_name, args, parent=parent, **extra)


class PluginLazy(Lazy):
    """A plugin's command: found again by the plugin host when it is run, whatever the cache of help lines said."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """As of any lazy command; what fails to import is the plugin's fault and says so."""
        from manor.cli.plugged import import_target

        real = tidy(get_command(import_target(str(self.name))))
        real.name = self.name
        real.params = [param for param in real.params if param.name not in ("install_completion", "show_completion")]
        if isinstance(real, TyperGroup):
            for name, rest in GRAFTED.get(str(self.name), {}).items():
                real.commands.setdefault(name, Lazy(name, *rest))
        return real.make_context(info_name, args, parent=parent, **extra)


class Root(TyperGroup):
    """The groups of core and of plugins, none of them imported to be listed."""

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        self.commands.update({name: Lazy(name, *rest) for name, rest in BUILTIN.items()})

    def _plug(self) -> None:
        from manor.cli.plugged import help_lines

        for name, line in help_lines(reserved=frozenset(BUILTIN)).items():
            self.commands.setdefault(name, PluginLazy(name, "", line))

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """Core's commands in the order of work, then the plugins'."""
        self._plug()
        return list(self.commands)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """Plugins are asked only for a name that core does not have."""
        if cmd_name not in self.commands:
            self._plug()
        return self.commands.get(cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Two sections: what comes with Manor, and what plugins add."""
        names = self.list_commands(ctx)
        for title, wanted in (("Commands", Lazy), ("Commands of plugins", PluginLazy)):
            rows = [(name, self.commands[name].help or "") for name in names if type(self.commands[name]) is wanted]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


app = typer.Typer(
    name="manor",
    cls=Root,
    help="NFV management and orchestration for bare KVM hosts.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _global(
    ctx: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
    verbose: Annotated[
        int, typer.Option("-v", "--verbose", count=True, help="Say more on stderr, with tracebacks; twice: debug.")
    ] = 0,
    home: Annotated[
        Path | None, typer.Option(envvar="MANOR_HOME", show_envvar=True, help="Where Manor keeps its state.")
    ] = None,
    db: Annotated[
        str, typer.Option(envvar="MANOR_DB", show_envvar=True, help="Database URL; default: a SQLite file in the home.")
    ] = "",
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    out: Output = ctx.obj
    out.json, out.verbosity = json, verbose
    ctx.obj = opened = Session(out=out, home=home or default_home(os.environ), db=db)
    ctx.call_on_close(opened.close)
    if version:
        from importlib.metadata import version as installed

        out.result({"version": installed("manor")}, lambda: out.line(f"manor {installed('manor')}"))
    elif ctx.invoked_subcommand is None:
        out.line(ctx.get_help())


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command line; every way to end comes through here."""
    _open_streams()
    args = hoist(sys.argv[1:] if argv is None else argv)
    command = tidy(lighten(get_command(app)))
    if "_MANOR_COMPLETE" in os.environ:
        return _complete(command)
    out = Output(json="--json" in args)
    for stream in (out.stdout, out.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    code = int(ExitCode.OK)
    try:
        code = _invoke(command, args, out)
        out.stdout.flush()
    except OSError as error:
        # The reader has gone, or there is no room; what is left must not raise again when Python closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if code == ExitCode.OK:
            code = exit_code(error)
            if code is not ExitCode.BROKEN_PIPE:
                out.error(error, code)
    return int(code)


def _open_streams() -> None:
    """Give standard streams that were closed to nobody, before another file gets their number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115


def _invoke(command: Any, args: list[str], out: Output) -> int:
    try:
        _must_be_text(args)
        with command.make_context("manor", args, obj=out) as ctx:
            command.invoke(ctx)
        return ExitCode.OK
    except typer.Exit as end:
        return end.exit_code
    except (KeyboardInterrupt, typer.Abort):
        out.note("interrupted")
        return ExitCode.INTERRUPTED
    except typer.TyperException as error:
        return _wrong_usage(error, out)
    except BrokenPipeError:
        raise
    # The outermost frame: what is not an error of ours is a bug, and is reported like one.
    except Exception as error:
        code = exit_code(error)
        out.error(error, code)
        return code


def _must_be_text(args: Sequence[str]) -> None:
    for arg in args:
        try:
            arg.encode()
        except UnicodeEncodeError:
            hint = "what the database, drivers and guests are told is UTF-8: correct it, or rename the file"
            raise UsageError(f"an argument is not UTF-8: {arg!r}", hint=hint) from None


def _wrong_usage(error: typer.TyperException, out: Output) -> int:
    ctx = getattr(error, "ctx", None)
    message = " ".join(error.format_message().split()).rstrip(".")
    if message.startswith("Usage:"):  # a group without a command: its help
        out.note(error.format_message())
    else:
        path = ctx.command_path if ctx else "manor"
        out.error(UsageError(message[:1].lower() + message[1:], hint=f"{path} --help"), ExitCode.USAGE)
    return ExitCode.USAGE


def _complete(command: Any) -> int:
    try:
        command.main(args=[], prog_name="manor", obj=Output())
    except SystemExit as end:
        return int(end.code or 0)
    # Nothing may be printed into the line that a person is typing.
    except Exception:
        return ExitCode.GENERAL
    return ExitCode.OK
