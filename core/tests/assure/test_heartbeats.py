"""What a guest agent's silence is: one question that was not answered in time is none."""

from types import SimpleNamespace
from typing import Any

from manor.api import CallContext, Observed, Phase, ResourceKind, ResourceRef
from manor.assure.looking import Heartbeats
from manor.errors import DeadlineExceeded

KEY = "1a2b3c4d/vnf/fw/main-0"


class Vim:
    """Its one machine's agent answers, or does not within the time that it has."""

    answers = True

    def guest_ping(self, _ref: ResourceRef, _ctx: CallContext) -> bool:
        if not self.answers:
            raise DeadlineExceeded("asking the agent: not done in time")
        return True

    def guest_exec(self, *_: object, **__: object) -> None: ...


def test_one_question_that_was_not_answered_is_no_silence_however_long_ago_the_one_before_was() -> None:
    """As where so many agents hang that a round of questions takes a minute."""
    vim, now = Vim(), [0.0]
    ref = ResourceRef(kind=ResourceKind.NODE, key=KEY)
    running = {"vim:lab": {KEY: Observed(ref=ref, owner="o", native_id="", spec_hash="", phase=Phase.ACTIVE)}}
    nodes = [("vim:lab", SimpleNamespace(key=KEY))]
    service: Any = SimpleNamespace(is_changing=False, nodes=lambda: nodes, guests=lambda: {KEY})
    rt: Any = SimpleNamespace(driver=lambda _: vim)
    heartbeats = Heartbeats(rt)

    def ask(answers: bool) -> dict[str, float]:
        vim.answers, now[0] = answers, now[0] + 60.0
        heartbeats.ask([service], running, lambda: now[0])
        return heartbeats.unheard_s()

    assert ask(True) == {}
    assert ask(False) == {}
    assert ask(True) == {}
    assert ask(False) == {}
    assert ask(False) == {KEY: 120.0}
    assert ask(True) == {}
