"""All that is wrong now, from whoever can tell: static rules, drift, thresholds, the VNFs' indicators, detectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from manor.assure.confirming import confirm
from manor.assure.declared import crossed
from manor.assure.drift import Compared, with_drift
from manor.assure.emptied import with_emptied
from manor.assure.learning import Learning, symptom_of
from manor.assure.measuring import Measuring
from manor.assure.settings import AssuranceSettings
from manor.assure.sight import Service, Sight
from manor.assure.symptoms import Findings, Symptom, find_symptoms, measured_on
from manor.assure.unheard import unheard
from manor.model.alarm import AlarmRecord

__all__ = ["judge"]


def judge(
    services: Sequence[Service],
    sight: Sight,
    compared: Mapping[str, Compared],
    measuring: Measuring,
    settings: AssuranceSettings,
    *,
    active: Sequence[AlarmRecord],
) -> Findings:
    """One round's findings, with what is ``active`` by now. Of a service that an operation is changing nobody says
    anything."""
    findings = with_emptied(find_symptoms(services, sight, settings), services, sight, active)
    findings = with_drift(findings, services, compared, settings)
    settled = {service.id: service for service in services if not service.is_changing}
    measured = (
        *measuring.performance.symptoms(),
        *crossed(services, measuring.rows, settings.degraded_s),
        *unheard(services, measuring.guests.unheard.since_s(), sight.time_s, settings),
    )
    told = (measured_on(settled[one.ns_id], one) for one in measured if one.ns_id in settled)
    symptoms = (*findings.symptoms, *told)
    learning = measuring.learning
    if learning is None:
        return replace(findings, symptoms=symptoms)
    changing = {node.key for service in services if service.is_changing for _, node in service.nodes()}
    return replace(
        findings,
        symptoms=(*symptoms, *_suspected(settled, sight, learning, measuring)),
        deaf=learning.deaf | changing,
    )


def _suspected(
    settled: Mapping[str, Service], sight: Sight, learning: Learning, measuring: Measuring
) -> Iterator[Symptom]:
    """What detectors suspect of services at rest, with whoever agrees."""
    for suspicion in list(learning.suspicions.values()):
        service = settled.get(suspicion.ns_id)
        if service is None:
            continue
        key = suspicion.resource_key
        signs = confirm(service, key, suspicion.kpis, sight=sight, flows=measuring.flows.now, rows=measuring.rows)
        yield symptom_of(service, suspicion, signs, load=measuring.load.get(key))
