"""Manor's own figures for Prometheus, read at scrape time from what the process counts anyway.

Names follow Prometheus's rules (base units, ``_total`` on counters); labels are plugin, verb and state, so their number
is bounded by what is installed. The values are passed in: this module reads no database and no plugin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["Calls", "registry"]


class Calls(Protocol):
    """What one verb or hook of one plugin cost so far."""

    @property
    def count(self) -> int:
        """Calls that returned, well or badly."""
        ...

    @property
    def errors(self) -> int:
        """Those that raised."""
        ...

    @property
    def seconds(self) -> float:
        """Time spent in them."""
        ...


class _Manor:
    """A collector as prometheus-client wants it: asked anew at each scrape."""

    def __init__(
        self,
        version: str,
        calls: Callable[[], Mapping[tuple[str, str], Calls]],
        stuck: Callable[[], int],
        operations: Callable[[], Mapping[str, int]],
        services: Callable[[], Mapping[str, int]],
    ) -> None:
        self.version = version
        self.calls = calls
        self.stuck = stuck
        self.operations = operations
        self.services = services

    def collect(self) -> Iterator[Any]:
        """The metric families."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        build = GaugeMetricFamily("manor_build_info", "The running release.", labels=["version"])
        build.add_metric([self.version], 1)
        yield build
        calls = self.calls()
        families: Iterable[tuple[str, str, Callable[[Calls], float]]] = (
            ("manor_plugin_calls", "Calls into plugins that returned.", lambda c: c.count),
            ("manor_plugin_call_errors", "Calls into plugins that raised.", lambda c: c.errors),
            ("manor_plugin_call_seconds", "Time spent in calls into plugins.", lambda c: c.seconds),
        )
        for name, text, value in families:
            family = CounterMetricFamily(name, text, labels=["plugin", "verb"])
            for (plugin, verb), count in sorted(calls.items()):
                family.add_metric([plugin, verb], value(count))
            yield family
        stuck = GaugeMetricFamily("manor_plugin_calls_stuck", "Calls into plugins that are past their deadline.")
        stuck.add_metric([], self.stuck())
        yield stuck
        for name, text, read in (
            ("manor_operations", "Lifecycle operations that have not ended, by state.", self.operations),
            ("manor_services", "Network services by state.", self.services),
        ):
            gauge = GaugeMetricFamily(name, text, labels=["state"])
            for state, number in sorted(read().items()):
                gauge.add_metric([state], number)
            yield gauge


def registry(
    *,
    version: str,
    calls: Callable[[], Mapping[tuple[str, str], Calls]],
    stuck: Callable[[], int],
    operations: Callable[[], Mapping[str, int]],
    services: Callable[[], Mapping[str, int]],
    more: Iterable[Any] = (),
) -> CollectorRegistry:
    """A registry of its own (none is global) that reads these at each scrape; ``more`` are further collectors."""
    from prometheus_client import CollectorRegistry

    made = CollectorRegistry()
    made.register(_Manor(version, calls, stuck, operations, services))
    for collector in more:
        made.register(collector)
    return made
