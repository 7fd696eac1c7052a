"""ETSI's tables, entry by entry."""

import pytest

from manor.api import OperationKind, Step, Verb
from manor.errors import UsageError
from manor.lcm.states import NS_OPERATIONS, Trigger, advance, allowed_in
from manor.model.instance import NsLcmOpOcc, OperationState, StepRecord, StepState
from manor.model.vnfoperation import VNF_OPERATIONS, VnfOperationState, occurrences

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


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(("state", "trigger"), list(NS_OPERATIONS))
def test_whatever_a_services_operation_does_its_vnfs_walk_their_own_table(
    state: OperationState, trigger: Trigger, whole: bool
) -> None:
    step = Step(id="ensure node", verb=Verb.ENSURE, kind="node", key="s/vnf/web/main-0", endpoint="vim:lab")
    record = StepRecord(step=step, state=StepState.DONE if whole else StepState.SKIPPED)

    def of_web(state: OperationState) -> VnfOperationState:
        operation = NsLcmOpOcc(
            id="o",
            ns_id="s",
            ns_name="demo",
            operation=OperationKind.HEAL,
            state=state,
            params={"vnfs": {"web": "HEAL"}},
        )
        return occurrences(operation, [record])[0].state

    assert of_web(advance(state, trigger)) in VNF_OPERATIONS[of_web(state)]
