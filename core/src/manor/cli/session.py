"""What every command is given: where to print, where the state is, and the heavy parts when it asks for them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from manor.cli.output import Output

if TYPE_CHECKING:
    from manor.lcm.runtime import Runtime

__all__ = ["Session", "default_home", "log_to_stderr", "new_app", "session"]


def default_home(environ: Mapping[str, str]) -> Path:
    """Where Manor keeps its state: ``MANOR_HOME``, else ``/var/lib/manor`` for root, else the user's data directory."""
    if environ.get("MANOR_HOME"):
        return Path(environ["MANOR_HOME"])
    if os.geteuid() == 0:
        return Path("/var/lib/manor")
    from platformdirs import user_data_path

    return user_data_path("manor")


@dataclass(kw_only=True)
class Session:
    """One run of the command line."""

    out: Output = field(default_factory=Output)
    home: Path
    db: str = ""

    @property
    def url(self) -> str:
        """The database's path or URL."""
        return self.db or str(self.home / "manor.db")

    @cached_property
    def runtime(self) -> Runtime:
        """The installation: plugins, database, connections, each made at its first use. Closed with the session."""
        from manor.lcm.runtime import open_runtime

        log_to_stderr(self.out)
        return open_runtime(self.home, self.db)

    def close(self) -> None:
        """Let go of everything; called when the command has ended, however it did."""
        if "runtime" in self.__dict__:
            self.runtime.close()


def log_to_stderr(out: Output) -> None:
    """Send the log to stderr: warnings, with ``-v`` what is done, with ``-vv`` everything."""
    import logging

    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(out.verbosity, 2)]
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=out.stderr)
    logging.getLogger("manor").setLevel(level)


def session(ctx: typer.Context) -> Session:
    """The session of this command."""
    found: Session = ctx.obj
    return found


def new_app(help: str) -> typer.Typer:
    """An empty command group that looks like all the others."""
    return typer.Typer(
        help=help,
        rich_markup_mode=None,
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
