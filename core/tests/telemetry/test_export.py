"""What a Prometheus server reads from Manor."""

from typing import Any

from manor.api import OperationKind, Step, Verb
from manor.model.instance import NsLcmOpOcc, OperationState, StepRecord, StepState
from manor.plugin import CallCount
from manor.telemetry.export import registry
from manor.telemetry.work import WorkFigures


def test_calls_operations_and_services_are_exported_as_they_are_at_the_scrape() -> None:
    from prometheus_client import generate_latest

    calls = {("vim-libvirt", "ensure"): CallCount(count=3, errors=1, seconds=1.5)}
    made = registry(
        version="0.1.0",
        calls=lambda: calls,
        stuck=lambda: 2,
        operations=lambda: {"PROCESSING": 1},
        services=lambda: {"INSTANTIATED": 4},
    )
    text = generate_latest(made).decode()
    assert 'manor_plugin_calls_total{plugin="vim-libvirt",verb="ensure"} 3.0' in text
    assert 'manor_plugin_call_errors_total{plugin="vim-libvirt",verb="ensure"} 1.0' in text
    assert 'manor_plugin_call_seconds_total{plugin="vim-libvirt",verb="ensure"} 1.5' in text
    assert "manor_plugin_calls_stuck 2.0" in text
    assert 'manor_operations{state="PROCESSING"} 1.0' in text
    calls[("vim-libvirt", "ensure")] = CallCount(count=4)
    assert 'verb="ensure"} 4.0' in generate_latest(made).decode()


def test_operations_and_steps_are_counted_where_they_end() -> None:
    from prometheus_client import CollectorRegistry

    made = CollectorRegistry()
    took = WorkFigures(made, clock=lambda: 112.0)
    step = Step(id="ensure node a", verb=Verb.ENSURE, kind="node", key="a", endpoint="vim:lab")
    for state, ended_s in ((StepState.INTENDED, 0.0), (StepState.DONE, 103.0), (StepState.UNDONE, 110.0)):
        took.step(StepRecord(step=step, state=state, started_s=100.5, ended_s=ended_s))
    kind = OperationKind.INSTANTIATE
    occurrence: dict[str, Any] = {"id": "o", "ns_id": "n", "ns_name": "demo", "operation": kind}
    for state in (OperationState.PROCESSING, OperationState.COMPLETED):
        took.operation(NsLcmOpOcc(**occurrence, state=state, start_s=100.0))
    held = NsLcmOpOcc(**occurrence, state=OperationState.PARTIALLY_COMPLETED, start_s=2.0, attempt=2)
    took.operation(held)
    steps = {"verb": "ensure", "kind": "node", "state": "done"}
    assert made.get_sample_value("manor_step_duration_seconds_count", steps) == 1
    assert made.get_sample_value("manor_step_duration_seconds_sum", steps) == 2.5
    ended = {"operation": str(kind), "state": "COMPLETED"}
    assert made.get_sample_value("manor_operations_ended_total", ended) == 1
    assert made.get_sample_value("manor_operations_ended_total", {**ended, "state": "FAILED"}) == 0
    assert made.get_sample_value("manor_operations_ended_total", {**ended, "state": "PARTIALLY_COMPLETED"}) == 1
    assert made.get_sample_value("manor_operation_duration_seconds_sum", {"operation": str(kind)}) == 12.0, (
        "what was held is not what it took"
    )
