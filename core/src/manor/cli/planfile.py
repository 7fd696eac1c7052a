"""A plan in a file: shown to others, approved, and applied only if the world still agrees."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manor.cli.jsonable import jsonable
from manor.errors import UsageError

if TYPE_CHECKING:
    from manor.api.plan import Plan
    from manor.lcm.ns import Proposal
    from manor.lcm.wishes import Wishes

__all__ = ["load_plan", "plan_document", "save_plan"]


def plan_document(proposal: Proposal) -> dict[str, Any]:
    """The plan with the wishes that led to it: what ``--json`` prints and a plan file holds."""
    from manor.lcm.plans import plan_to_json
    from manor.lcm.wishes import wishes_to_json

    return {
        **plan_to_json(proposal.plan),
        "wishes": wishes_to_json(proposal.wishes),
        "findings": jsonable(proposal.findings),
    }


def save_plan(path: Path, proposal: Proposal) -> None:
    """Write the document, readable by its owner alone: boot data may be in it."""
    text = json.dumps(plan_document(proposal), indent=2) + "\n"
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", hint="choose another place") from error


def load_plan(path: Path) -> tuple[Plan, Wishes]:
    """Read a plan file. Raises UsageError where it is none, or was changed since it was made."""
    from manor.lcm.plans import plan_from_json
    from manor.lcm.wishes import wishes_from_json

    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", hint="manor ns plan NS --save FILE") from error
    except ValueError as error:
        raise UsageError(f"{path} is not a saved plan", hint="manor ns plan NS --save FILE") from error
    if not isinstance(document, dict):
        raise UsageError(f"{path} is not a saved plan", hint="manor ns plan NS --save FILE")
    return plan_from_json(document), wishes_from_json(document.get("wishes") or {})
