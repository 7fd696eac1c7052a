"""The switches' counters as a sign: a function that loses packets gives one, one that is busy or under attack none."""

import random

from manor.assure.confirming import Flow, Flows

KEY = "1a2b3c4d/vnf/fw/main-0"


def seen(
    flows: Flows, periods: int, into: float, out_of: float, *, at: float, step_s: float = 5.0
) -> tuple[Flow, float]:
    for _ in range(periods):
        at += step_s
        flows.take({KEY: (into, out_of)}, at)
    return flows.now[KEY], at


def test_a_loss_is_a_sign_once_it_is_known_what_is_usual() -> None:
    flows = Flows()
    flow, at = seen(flows, 10, 40, 28, at=0)
    assert not flow.is_failing, "nothing is known of what is usual"
    flows = Flows()
    flow, at = seen(flows, 20, 40, 40, at=0)
    assert not flow.is_failing
    flow, at = seen(flows, 4, 40, 28, at=at)
    assert flow.is_failing
    flow, at = seen(flows, 500, 40, 28, at=at)
    assert flow.is_failing, "a loss that lasts does not become usual"
    flow, at = seen(flows, 20, 40, 40, at=at)
    assert not flow.is_failing


def test_neither_a_flash_crowd_nor_an_attack_that_is_filtered_is_a_sign() -> None:
    flows = Flows()
    _, at = seen(flows, 50, 40, 38, at=0)
    flow, at = seen(flows, 50, 160, 152, at=at)
    assert not flow.is_failing, "four times the traffic goes through"
    flow, at = seen(flows, 50, 2000, 160, at=at)
    assert not flow.is_failing, "what is denied is no loss while the rest goes through"
    flow, at = seen(flows, 50, 3, 2.9, at=at)
    assert not flow.is_failing, "the night is quiet"


def test_few_packets_do_not_make_a_sign_by_chance() -> None:
    flows, chance, at = Flows(), random.Random(7), 0.0
    for _ in range(4000):
        at += 0.5
        into = chance.randrange(0, 8)
        lost = sum(chance.random() < 0.02 for _ in range(into))
        flows.take({KEY: (into / 0.5, (into - lost) / 0.5)}, at)
        assert not (flows.now and flows.now[KEY].is_failing), at


def test_a_slow_function_is_judged_once_enough_packets_were_counted() -> None:
    flows, at = Flows(), 0.0
    flow, at = seen(flows, 12, 0.5, 0.5, at=at)
    assert flow.usual is None, "thirty packets say little"
    flow, at = seen(flows, 60, 0.5, 0.5, at=at)
    assert flow.usual is not None
    assert not flow.is_failing
    flow, at = seen(flows, 2, 0.5, 0.0, at=at)
    assert not flow.is_failing, "five packets may be chance"
    flow, at = seen(flows, 10, 0.5, 0.0, at=at)
    assert flow.is_failing
    flow, at = seen(flows, 30, 0.5, 0.5, at=at)
    assert not flow.is_failing
