"""Which secrets a step is given: those that the operator named for this service or this operation, and no others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from manor.api import CallContext, Script, Step, VnfView
from manor.errors import Permanent, UsageError
from manor.secrets import read_secret, tokens_in, with_texts

if TYPE_CHECKING:
    from manor.lcm.runtime import Runtime

__all__ = ["Given", "given_secrets", "revealed", "tokens_given", "view_revealed"]


class Given(Protocol):
    """Who knows what was given."""

    def tokens_given(self, operation_id: str) -> frozenset[str]:
        """Tokens that the operator gave for this operation and its service."""
        ...


def tokens_given(rt: Runtime, operation_id: str) -> frozenset[str]:
    """Tokens in the parameters of an operation and of its service."""
    from manor.store import instances, operations

    with rt.store.read() as tx:
        operation = operations.get(tx, operation_id)
        return tokens_in(operation.params, instances.get(tx, operation.ns_id).parameters)


def given_secrets(rt: Given, step: Step, ctx: CallContext) -> Mapping[str, str]:
    """The secrets that stand in a step, by token. Raises Permanent for one that was not given, or cannot be read."""
    tokens = tokens_in(step.spec or {})
    if not tokens:
        return {}
    stray = tokens - rt.tokens_given(ctx.operation)
    if stray:
        raise Permanent(
            f"{step.id}: {min(stray)} is no secret of this service", hint="a package may not name files of this host"
        )
    try:
        return {token: read_secret(token) for token in tokens}
    except UsageError as error:
        raise Permanent(f"{step.id}: {error.message}", hint=error.hint) from error


def revealed(script: Script, ctx: CallContext) -> Script:
    """The script with the secrets among its parameters in place."""
    return replace(script, parameters=with_texts(script.parameters, ctx.reveal))


def view_revealed(view: VnfView, ctx: CallContext) -> VnfView:
    """The view with the secrets among its parameters in place."""
    return replace(view, parameters=with_texts(view.parameters, ctx.reveal)) if ctx.secrets else view
