"""A subscriber who believes nothing: every move that it is told of must be one of ETSI's, of something it knows."""

from __future__ import annotations

from collections.abc import Iterable

from manor.lcm.states import NS_OPERATIONS
from manor.model.instance import OperationState
from manor.model.notification import Notification, NotificationType
from manor.model.vnfoperation import VNF_OPERATIONS, VnfOperationState

__all__ = ["Told"]


class Told:
    """What is known from notifications alone; ``listen`` raises AssertionError at the first that cannot be."""

    def __init__(self, told: Iterable[Notification] = ()) -> None:
        self.seq = 0
        self.there: set[str] = set()
        """Ids of VNFs that came and have not gone."""
        self.states: dict[str, str] = {}
        """State of each operation occurrence, of services and of VNFs, by id."""
        self.listen(told)

    def listen(self, told: Iterable[Notification]) -> None:
        """Hear these too."""
        for one in told:
            assert one.seq > self.seq
            self.seq = one.seq
            body = one.body
            match one.type:
                case NotificationType.VNF_IDENTIFIER_CREATION:
                    assert body["vnfInstanceId"] not in self.there, one
                    self.there.add(body["vnfInstanceId"])
                case NotificationType.VNF_IDENTIFIER_DELETION:
                    self.there.remove(body["vnfInstanceId"])
                case NotificationType.NS_LCM_OPERATION_OCCURRENCE:
                    self._changes(one)
                    self._ns(body["nsLcmOpOccId"], OperationState(body["operationState"]))
                case NotificationType.VNF_LCM_OPERATION_OCCURRENCE:
                    assert body["vnfInstanceId"] in self.there, one
                    self._changes(one)
                    self._vnf(body["vnfLcmOpOccId"], VnfOperationState(body["operationState"]))

    def _changes(self, one: Notification) -> None:
        """What goes on has changed nothing yet, and what is known of a VNF is so once all is done."""
        said = {name for name in one.body if name.startswith(("affected", "changed", "modifications"))}
        assert one.body["notificationStatus"] == "RESULT" or not said, one
        assert one.body["operationState"] == "COMPLETED" or not said & {
            "changedInfo",
            "modificationsTriggeredByVnfPkgChange",
        }, one

    def _ns(self, id: str, state: OperationState) -> None:
        was = self.states.get(id)
        moves = {(before, after) for (before, _), after in NS_OPERATIONS.items()}
        assert (was, state) in moves if was else state is OperationState.PROCESSING, (id, was, state)
        self.states[id] = state
        of_vnfs = {theirs for its, theirs in self.states.items() if its.startswith(f"{id}/")}
        if state is OperationState.PARTIALLY_COMPLETED:
            assert of_vnfs <= {"COMPLETED", "FAILED"}, (id, of_vnfs)
        elif state not in (OperationState.PROCESSING, OperationState.ROLLING_BACK):
            assert of_vnfs <= {state}, (id, state, of_vnfs)  # it rests after those of its VNFs

    def _vnf(self, id: str, state: VnfOperationState) -> None:
        was = self.states.get(id)
        legal = VNF_OPERATIONS[VnfOperationState(was)] if was else {VnfOperationState.STARTING}
        assert state in legal, (id, was, state)
        self.states[id] = state
