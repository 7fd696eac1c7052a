"""Arguments and options that several commands share, with one wording each."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from manor.cli.find import complete_ns, complete_vnf
from manor.cli.session import session
from manor.model.instance import OnFailure

if TYPE_CHECKING:
    from manor.lcm.ns import Proposal

__all__ = ["Failing", "NoWait", "Secrets", "Service", "Vnf", "Vnfs", "Yes", "changes"]

Service = Annotated[str, typer.Argument(metavar="NS", help="Name or id of a service.", autocompletion=complete_ns)]
Vnf = Annotated[
    str, typer.Argument(metavar="NS/VNF", help="Service and VNF, or the VNF's id.", autocompletion=complete_vnf)
]
Vnfs = Annotated[
    list[str], typer.Argument(metavar="NS/VNF...", help="VNFs of one service.", autocompletion=complete_vnf)
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
NoWait = Annotated[
    bool, typer.Option("--no-wait", help="Start it and return; `manor serve` or `op watch` works it off.")
]
Secrets = Annotated[
    list[str] | None,
    typer.Option("--secret", metavar="KEY=FILE", help="A parameter whose value is in a file (0600); repeatable."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan, and do nothing.")]
Failing = Annotated[OnFailure, typer.Option("--on-failure", help="What to do when a step fails for good.")]


def changes(
    app: typer.Typer, name: str | None = None
) -> Callable[[Callable[..., Proposal | None]], Callable[..., Proposal | None]]:
    """Add a command that proposes a change: it is shown, asked about and carried out, with the same options everywhere.

    The function returns the proposal, or None where it only told something.
    """
    how = {
        "dry_run": (DryRun, False),
        "yes": (Yes, False),
        "on_failure": (Failing, OnFailure.ROLLBACK),
        "no_wait": (NoWait, False),
    }

    def register(command: Callable[..., Proposal | None]) -> Callable[..., Proposal | None]:
        @functools.wraps(command)
        def run(
            ctx: typer.Context, *, dry_run: bool, yes: bool, on_failure: OnFailure, no_wait: bool, **given: Any
        ) -> None:
            proposal = command(ctx, **given)
            if proposal is None:
                return
            from manor.cli.running import carry_out, show_proposal

            if dry_run:
                show_proposal(session(ctx), proposal)
            else:
                carry_out(session(ctx), proposal, yes=yes, on_failure=on_failure, wait=not no_wait)

        # The proposal's type is heavy to import, and no option.
        hints = typing.get_type_hints(command, localns={"Proposal": object}, include_extras=True)
        own = [p.replace(annotation=hints[p.name]) for p in inspect.signature(command).parameters.values()]
        shared = [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
            for key, (kind, default) in how.items()
        ]
        run.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in (*own, *shared)}
        app.command(name)(run)
        return command

    return register
