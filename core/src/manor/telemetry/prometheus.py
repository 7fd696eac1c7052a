"""The history of KPIs in a Prometheus server that scrapes ``manor serve``, read by its HTTP API.

Families are turned back into KPIs under their standard names and units. A server is not trusted more than any other
source: answers are bounded in size and time, and what is no finite number is missing.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import Request, urlopen

from manor.errors import StoreError, UsageError
from manor.model.kpi import HistoryRow, Series
from manor.telemetry.families import KPI_LABELS, kpi_of

__all__ = ["PrometheusHistory"]

_TIMEOUT_S = 15.0
_MOST_BYTES = 64 << 20
_MOST_STEPS = 1000
_LEAST_STEP_S = 5.0
_SUBJECT = tuple(label for label in KPI_LABELS if label != "part")
_ALL = '{__name__=~"manor_.+",service!=""}'


@dataclass(frozen=True, kw_only=True, slots=True)
class PrometheusHistory:
    """A server by its base URL. Each call asks it anew. Raises StoreError where it gives no usable answer."""

    url: str

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in ("http", "https") or not urlsplit(self.url).netloc:
            raise UsageError(f"'{self.url}' is no address of a Prometheus", hint="as http://localhost:9090")

    def subjects(self) -> tuple[Series, ...]:
        """What was measured within the last day, by name; ``last_s`` only of what is measured now."""
        by = ",".join(_SUBJECT)
        now = f"group by ({by}) ({_ALL})"
        # Aggregated first: a function over time would drop the names, and then nothing tells the series apart.
        lately = self._ask("query", {"query": f"last_over_time(({now})[1d:10m])"})
        found = dict.fromkeys(map(_labels, lately), 0.0)
        found |= {_labels(item): _float(item["value"][0]) for item in self._ask("query", {"query": now})}
        series = (_series(dict(labels), last_s) for labels, last_s in found.items())
        return tuple(sorted(series, key=lambda one: one.key))

    def read(self, series: Series, *, since_s: float, until_s: float = math.inf) -> tuple[HistoryRow, ...]:
        """Rows in time, in steps so wide that there are at most a thousand."""
        end_s = min(until_s, time.time())
        step_s = max(_LEAST_STEP_S, (end_s - since_s) / _MOST_STEPS)
        matchers = [
            '__name__=~"manor_.+"',
            *(f"{label}={json.dumps(series.labels.get(label, ''), ensure_ascii=False)}" for label in _SUBJECT),
        ]
        query = {
            "query": f"{{{','.join(matchers)}}}", "start": f"{since_s:.3f}", "end": f"{end_s:.3f}",
            "step": f"{step_s:.3f}",
        }  # fmt: skip
        rows: dict[float, dict[str, float]] = {}
        for item in self._ask("query_range", query):
            metric = item["metric"]
            name, factor = kpi_of(str(metric.get("__name__", "")))
            kpi = f"{name}:{metric['part']}" if metric.get("part") else name
            for time_s, text in item["values"]:
                value = _float(text)
                if math.isfinite(value):
                    rows.setdefault(float(time_s), {})[kpi] = value / factor
        return tuple(HistoryRow(time_s=time_s, values=values) for time_s, values in sorted(rows.items()))

    def _ask(self, call: str, parameters: Mapping[str, str]) -> list[Any]:
        where = f"{self.url.rstrip('/')}/api/v1/{call}"
        request = Request(where, data=urlencode(parameters).encode(), headers={"Accept": "application/json"})  # noqa: S310 - the scheme is checked
        try:
            with urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
                data = answer.read(_MOST_BYTES + 1)
        except HTTPError as error:
            refusal = _reason(error.read(10_000)) or error.reason
            raise StoreError(f"Prometheus at {self.url} refuses: {refusal}") from error
        except (URLError, OSError) as error:
            reason = getattr(error, "reason", None) or error
            raise StoreError(
                f"Prometheus at {self.url} cannot be asked: {reason}", hint="is it running? see assurance.yaml"
            ) from error
        if len(data) > _MOST_BYTES:
            raise StoreError(f"the answer of Prometheus at {self.url} is too long", hint="ask for a shorter span")
        try:
            result = json.loads(data)["data"]["result"]
            if not isinstance(result, list) or not all(isinstance(item, dict) for item in result):
                raise ValueError
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"what answers at {self.url} is no Prometheus", hint="see assurance.yaml") from error
        return result


def _reason(data: bytes) -> str:
    try:
        return str(json.loads(data)["error"])[:200]
    except (ValueError, KeyError, TypeError):
        return ""


def _labels(item: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((label, str(item["metric"].get(label, ""))) for label in _SUBJECT if item["metric"].get(label))


def _series(labels: dict[str, str], last_s: float) -> Series:
    kind = next((kind for kind in ("link", "chain") if labels.get(kind)), "vnfc")
    named = Series(key="", kind=kind, labels=labels, last_s=last_s)
    return Series(key=named.name, kind=kind, labels=labels, last_s=last_s)


def _float(text: object) -> float:
    try:
        return float(str(text))
    except ValueError:
        return math.nan
