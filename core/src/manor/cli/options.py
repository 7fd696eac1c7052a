"""Arguments and options that several commands share, with one wording each."""

from __future__ import annotations

from typing import Annotated

import typer

from manor.cli.find import complete_ns, complete_vnf
from manor.model.instance import OnFailure

__all__ = ["Failing", "NoWait", "Secrets", "Service", "Vnf", "Vnfs", "Yes"]

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
Failing = Annotated[OnFailure, typer.Option("--on-failure", help="What to do when a step fails for good.")]
