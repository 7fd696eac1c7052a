"""What a Prometheus server reads from Manor."""

from manor.plugin import CallCount
from manor.telemetry.export import registry


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
