"""ETSI's table, entry by entry."""

import pytest

from manor.errors import UsageError
from manor.lcm.states import NS_OPERATIONS, Trigger, advance, allowed_in
from manor.model.instance import OperationState

S, T = OperationState, Trigger


def test_the_table_is_sol005s() -> None:
    assert NS_OPERATIONS == {
        (S.PROCESSING, T.SUCCEEDED): S.COMPLETED,
        (S.PROCESSING, T.PARTLY_SUCCEEDED): S.PARTIALLY_COMPLETED,
        (S.PROCESSING, T.FAILED): S.FAILED_TEMP,
        (S.PROCESSING, T.FAILED_FOR_GOOD): S.FAILED,
        (S.PROCESSING, T.CANCELLED): S.FAILED_TEMP,
        (S.FAILED_TEMP, T.RETRY): S.PROCESSING,
        (S.FAILED_TEMP, T.CONTINUE): S.PROCESSING,
        (S.FAILED_TEMP, T.ROLLBACK): S.ROLLING_BACK,
        (S.FAILED_TEMP, T.FAIL): S.FAILED,
        (S.ROLLING_BACK, T.SUCCEEDED): S.ROLLED_BACK,
        (S.ROLLING_BACK, T.FAILED): S.FAILED_TEMP,
        (S.ROLLING_BACK, T.CANCELLED): S.FAILED_TEMP,
    }


@pytest.mark.parametrize("trigger", [T.RETRY, T.ROLLBACK, T.CONTINUE, T.FAIL])
@pytest.mark.parametrize("state", [state for state in S if state is not S.FAILED_TEMP])
def test_error_handling_starts_from_failed_temp_only(trigger: Trigger, state: OperationState) -> None:
    assert allowed_in(trigger) == (S.FAILED_TEMP,)
    with pytest.raises(UsageError, match=f"{trigger} is not possible in {state}: it takes an operation in FAILED_TEMP"):
        advance(state, trigger)
