"""``manor pm``: performance management as ETSI has it: jobs that collect and report KPIs, thresholds that raise alarms.

`manor serve` does the work; these commands say what is wanted, and show what came of it.
"""

from __future__ import annotations

import difflib
import time
import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from manor.api.assure import PerceivedSeverity
from manor.cli.find import complete_vnf, find_ns, find_vnf
from manor.cli.kpi import measured_of, span_s
from manor.cli.markers import when
from manor.cli.names import resolve
from manor.cli.session import Session, new_app, session
from manor.errors import UsageError

if TYPE_CHECKING:
    from manor.model.pm import PmReport

__all__ = ["app"]

app = new_app("Performance management: jobs, thresholds.")
job_app = new_app("PM jobs: create, list, show, delete.")
threshold_app = new_app("Thresholds: create, list, show, delete.")
app.add_typer(job_app, name="job", help="PM jobs, which collect and report KPIs.")
app.add_typer(threshold_app, name="threshold", help="Thresholds on KPIs, which raise an alarm.")

Object = Annotated[
    str,
    typer.Argument(
        metavar="NS[/NAME]", help="A service, or a VNF, machine, link or chain of one.", autocompletion=complete_vnf
    ),
]
Metric = Annotated[str, typer.Option("--metric", "-m", metavar="KPI", help="A KPI without its part; see kpi show.")]
Metrics = Annotated[
    list[str], typer.Option("--metric", "-m", metavar="KPI", help="A KPI without its part; repeat it. See kpi show.")
]
Parts = Annotated[
    list[str] | None, typer.Option("--part", help="Only this connection point or part; repeat it. All where none.")
]
_LEAST_S = 1.0


def _object(s: Session, typed: str) -> str:
    """Key of a service, a VNF, or anything that is measured of one."""
    from manor.assure.looking import Services
    from manor.assure.subjects import subjects_of

    name, _, rest = typed.partition("/")
    ns = find_ns(s, name)
    if not rest:
        return ns.id
    services = [service for service in Services(s.runtime).read() if service.id == ns.id]
    known = {subject.key: subject.labels for subject in subjects_of(services)}
    named = [
        (key, labels.get("vnfc") or labels.get("link") or labels.get("chain", "")) for key, labels in known.items()
    ]
    vnfs = {labels["vnf"] for labels in known.values() if "vnf" in labels}
    if rest in vnfs:
        return find_vnf(s, typed).id
    return resolve(rest, named, what="measured thing", listing=f"manor kpi list {ns.name}")


def _metric(text: str) -> str:
    if ":" in text or not text.replace("_", "").isalnum():
        raise UsageError(f"'{text}' is no name of a KPI", hint="as v_cpu_usage_mean_vnf; a part goes to --part")
    return text


def _warn_of_unknown(s: Session, key: str, metrics: Iterable[str]) -> None:
    """A KPI that nobody measures is no mistake yet, but mostly one letter away from one that is measured."""
    known = measured_of(s, key)
    for metric in metrics:
        if known and metric not in known:
            near = difflib.get_close_matches(metric, known, n=1)
            guess = f"; did you mean {near[0]}?" if near else "; see manor kpi show"
            s.out.warn(f"{metric} was not measured there in the last hour{guess}")


def _period(text: str, option: str) -> float:
    found = span_s(text, option)
    if found < _LEAST_S:
        raise UsageError(f"{option} is at least a second, not {text}", hint=f"for example {option} 60s")
    return found


@job_app.command("create")
def job_create(
    ctx: typer.Context,
    object: Object,
    metric: Metrics,
    part: Parts = None,
    collect: Annotated[str, typer.Option(metavar="SPAN", help="Collection period: one value for each.")] = "60s",
    report: Annotated[str, typer.Option(metavar="SPAN", help="Reporting period.")] = "5m",
    until: Annotated[str, typer.Option(metavar="SPAN", help="End after this time; never where not given.")] = "",
) -> None:
    """Collect KPIs of an object, and report them once a reporting period."""
    from manor.model.pm import PmJob
    from manor.store import pm

    s = session(ctx)
    now_s = time.time()
    collect_s, report_s = _period(collect, "--collect"), _period(report, "--report")
    if report_s < collect_s:
        raise UsageError(
            f"a report every {report} cannot hold values of {collect}", hint="make --report the longer one"
        )
    made = PmJob(
        id=uuid.uuid4().hex[:12],
        object_instance_id=_object(s, object),
        performance_metrics=tuple(dict.fromkeys(_metric(one) for one in metric)),
        sub_object_instance_ids=tuple(part or ()),
        collection_period_s=collect_s,
        reporting_period_s=report_s,
        reporting_boundary_s=now_s + _period(until, "--until") if until else 0.0,
        created_s=now_s,
    )
    _warn_of_unknown(s, made.object_instance_id, made.performance_metrics)
    with s.runtime.store.begin() as tx:
        pm.add_job(tx, made)
    s.out.result(made, lambda: s.out.line(f"PM job {made.id} on {made.object_instance_id}"))


@job_app.command("list")
def job_list(ctx: typer.Context) -> None:
    """List PM jobs."""
    from manor.store import pm

    s = session(ctx)
    with s.runtime.store.read() as tx:
        found = pm.jobs(tx)
    rows = [
        (one.id, one.object_instance_id, ", ".join(one.performance_metrics), f"{one.collection_period_s:g} s",
         f"{one.reporting_period_s:g} s", when(one.reporting_boundary_s))
        for one in found
    ]  # fmt: skip
    headers = ("id", "object", "metrics", "collects", "reports", "until")
    s.out.result(found, lambda: s.out.table(headers, rows, empty="no PM job"))


@job_app.command("show")
def job_show(
    ctx: typer.Context,
    job: Annotated[str, typer.Argument(metavar="JOB", help="Its id, or the start of it.")],
    reports: Annotated[int, typer.Option(min=0, max=100, help="How many of the newest reports.")] = 1,
) -> None:
    """Show a PM job with its newest reports."""
    from manor.store import pm

    s = session(ctx)
    with s.runtime.store.read() as tx:
        found = pm.job(tx, job)
        made = pm.reports(tx, found.id, limit=reports)

    def human() -> None:
        s.out.fields(
            [
                ("PM job", found.id),
                ("object", found.object_instance_id),
                ("metrics", ", ".join(found.performance_metrics)),
                ("collects every", f"{found.collection_period_s:g} s"),
                ("reports every", f"{found.reporting_period_s:g} s"),
                ("until", when(found.reporting_boundary_s)),
            ]
        )
        for report in made:
            s.out.line()
            _report(s, report)
        if not made and reports:
            s.out.note("no report yet: manor serve makes them")

    s.out.result({"job": found, "reports": made}, human)


def _report(s: Session, report: PmReport) -> None:
    from manor.telemetry.kpis import unit_of

    s.out.line(f"report {report.id} of {when(report.time_s)}")
    rows = [
        (entry.object_instance_id, entry.sub_object_instance_id, entry.performance_metric,
         unit_of(entry.performance_metric), when(time_s), f"{value:.4g}")
        for entry in report.entries
        for time_s, value in entry.values
    ]  # fmt: skip
    s.out.table(("object", "part", "metric", "unit", "period until", "value"), rows, right=("value",))


@job_app.command("delete")
def job_delete(ctx: typer.Context, job: Annotated[str, typer.Argument(metavar="JOB", help="Its id.")]) -> None:
    """Delete a PM job and its reports."""
    from manor.store import pm

    s = session(ctx)
    with s.runtime.store.begin() as tx:
        found = pm.job(tx, job)
        pm.remove_job(tx, found.id)
    s.out.result({"deleted": found.id}, lambda: s.out.line(f"PM job {found.id} is deleted"))


@threshold_app.command("create")
def threshold_create(
    ctx: typer.Context,
    object: Object,
    metric: Metric,
    value: Annotated[float, typer.Option(help="In the KPI's unit.")],
    hysteresis: Annotated[
        float, typer.Option(min=0, help="Crossed upwards at value + this, downwards at value - this.")
    ] = 0.0,
    part: Parts = None,
    severity: Annotated[PerceivedSeverity, typer.Option(help="Of the alarm.")] = PerceivedSeverity.WARNING,
) -> None:
    """Raise an alarm while a KPI of an object is over a value, and tell subscribers of each crossing."""
    from manor.model.pm import Threshold
    from manor.store import pm

    s = session(ctx)
    if severity is PerceivedSeverity.CLEARED:
        raise UsageError("an alarm is not raised as CLEARED", hint="for example --severity WARNING")
    if not abs(value) + hysteresis < 1e300:
        raise UsageError("a threshold is a finite number", hint="manor pm threshold create --help")
    made = Threshold(
        id=uuid.uuid4().hex[:12],
        object_instance_id=_object(s, object),
        performance_metric=_metric(metric),
        sub_object_instance_ids=tuple(part or ()),
        value=value,
        hysteresis=hysteresis,
        severity=severity,
        created_s=time.time(),
    )
    _warn_of_unknown(s, made.object_instance_id, [made.performance_metric])
    with s.runtime.store.begin() as tx:
        pm.add_threshold(tx, made)
    s.out.result(made, lambda: s.out.line(f"threshold {made.id} on {made.object_instance_id}"))


@threshold_app.command("list")
def threshold_list(ctx: typer.Context) -> None:
    """List thresholds, and where each is crossed now."""
    from manor.store import pm

    s = session(ctx)
    with s.runtime.store.read() as tx:
        found = pm.thresholds(tx)
    rows = [
        (one.id, one.object_instance_id, one.performance_metric, f"{one.value:g}", f"{one.hysteresis:g}",
         str(one.severity), ", ".join(f"{key}{':' if part else ''}{part}" for key, part in one.crossed))
        for one in found
    ]  # fmt: skip
    headers = ("id", "object", "metric", "value", "hysteresis", "severity", "crossed by")
    s.out.result(found, lambda: s.out.table(headers, rows, right=("value", "hysteresis"), empty="no threshold"))


@threshold_app.command("show")
def threshold_show(
    ctx: typer.Context, threshold: Annotated[str, typer.Argument(metavar="THRESHOLD", help="Its id.")]
) -> None:
    """Show a threshold."""
    from manor.store import pm

    s = session(ctx)
    with s.runtime.store.read() as tx:
        found = pm.threshold(tx, threshold)
    s.out.result(
        found,
        lambda: s.out.fields(
            [
                ("threshold", found.id),
                ("object", found.object_instance_id),
                ("metric", found.performance_metric),
                ("parts", ", ".join(found.sub_object_instance_ids)),
                ("up at", f"{found.value + found.hysteresis:g}"),
                ("down at", f"{found.value - found.hysteresis:g}"),
                ("severity", str(found.severity)),
                ("crossed by", ", ".join(f"{key}{':' if part else ''}{part}" for key, part in found.crossed)),
            ]
        ),
    )


@threshold_app.command("delete")
def threshold_delete(
    ctx: typer.Context, threshold: Annotated[str, typer.Argument(metavar="THRESHOLD", help="Its id.")]
) -> None:
    """Delete a threshold; its alarm clears."""
    from manor.store import pm

    s = session(ctx)
    with s.runtime.store.begin() as tx:
        found = pm.threshold(tx, threshold)
        pm.remove_threshold(tx, found.id)
    s.out.result({"deleted": found.id}, lambda: s.out.line(f"threshold {found.id} is deleted"))
