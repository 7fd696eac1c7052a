"""Day 0 of a machine, by its VNF's manager, held to hand on secrets as they are.

Until the machine is made a secret is a token, and the plan holds that. What a template makes of a token it has not made
of the secret: the machine would get the token's text, or a secret that was to be another. So what a manager makes of
other texts in the tokens' place has to be the same but for that.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from manor.api import BootData, VnfcView, Vnfm, VnfView
from manor.errors import ManorError, PlanRefused
from manor.secrets import tokens_in, with_texts

__all__ = ["boot_data"]

_OTHER = "aBcDeFgHiJkLmNoPqRsTuVwXyZ:/9876543210"


def boot_data(manager: Vnfm, vnf: VnfView, vnfc: VnfcView) -> BootData:
    """What the machine finds when it first starts. Raises PlanRefused where that has a secret that was altered."""
    made = manager.boot_data(vnf, vnfc)
    secrets = [name for name, value in vnf.parameters.items() if tokens_in(value)]
    if not secrets or _hands_on(manager, vnf, vnfc, made, secrets):
        return made
    name = next((name for name in secrets if not _hands_on(manager, vnf, vnfc, made, [name])), ", ".join(secrets))
    raise PlanRefused(
        f"boot data of {vnf.name}, VDU {vnfc.vdu_id}: it alters {name}, which is a secret",
        hint=f"have the template say {{{{ {name} }}}} alone, and write the secret into its file as it is to be",
    )


def _hands_on(manager: Vnfm, vnf: VnfView, vnfc: VnfcView, made: BootData, secrets: Collection[str]) -> bool:
    """Whether the tokens in these parameters stand in the boot data as given, wherever anything of them does."""
    given = {name: vnf.parameters[name] for name in secrets}
    others = {token: _other(token, number) for number, token in enumerate(sorted(tokens_in(given)))}
    try:
        swapped = with_texts(given, lambda text: _replaced(text, others))
        text = manager.boot_data(replace(vnf, parameters={**vnf.parameters, **swapped}), vnfc).user_data
    except ManorError:
        return True  # the manager may refuse such text, and has made something of the tokens
    return _replaced(text, {other: token for token, other in others.items()}) == made.user_data


def _other(token: str, number: int) -> str:
    """Of the token's length and form: who only quotes it, or breaks lines, does the same with this, and no harm."""
    body = len(token) - 2
    return f"@{(f'{number}{_OTHER}' * body)[:body]}@"


def _replaced(text: str, others: Mapping[str, str]) -> str:
    for one, other in others.items():
        text = text.replace(one, other)
    return text
