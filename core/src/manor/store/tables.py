"""The tables. They never leave this package: SQLModel tables do not validate, the domain types do.

Every name starts with ``manor_`` because on SQLite the durable queue's own tables share the file and the namespace.
Partial unique indexes let the database itself keep two promises: one active operation per service, over all
processes and nodes, and one package per descriptor.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Column, ForeignKey, Index, String, text
from sqlmodel import Field, SQLModel

__all__ = [
    "AlarmRow",
    "Desired",
    "EndpointRow",
    "Meta",
    "NotificationRow",
    "NsRow",
    "OperationRow",
    "PackageRow",
    "PmJobRow",
    "PmReportRow",
    "RulingRow",
    "StepRow",
    "SubscriptionRow",
    "ThresholdRow",
    "VnfRow",
    "WorkerRow",
]

# What the index of the first release names; no operation is STARTING.
ACTIVE_STATES = ("STARTING", "PROCESSING", "FAILED_TEMP", "ROLLING_BACK")
_ACTIVE = text("state IN ('STARTING', 'PROCESSING', 'FAILED_TEMP', 'ROLLING_BACK')")
_HAS_DESCRIPTOR = text("descriptor_id <> ''")
_UNCLEARED = text("cleared_s = 0")


def _json() -> Any:
    return Column(JSON, nullable=False)


class Meta(SQLModel, table=True):
    """Schema version, installation id and other single values."""

    __tablename__ = "manor_meta"
    key: str = Field(primary_key=True)
    value: str


class EndpointRow(SQLModel, table=True):
    __tablename__ = "manor_endpoint"
    kind: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    driver: str
    config: dict[str, Any] = Field(sa_column=_json())
    created_s: float


class PackageRow(SQLModel, table=True):
    __tablename__ = "manor_package"
    __table_args__ = (
        Index(
            "manor_package_descriptor",
            "kind",
            "descriptor_id",
            unique=True,
            sqlite_where=_HAS_DESCRIPTOR,
            postgresql_where=_HAS_DESCRIPTOR,
        ),
        Index("manor_package_name", "name", "id"),
    )
    id: str = Field(primary_key=True)
    kind: str
    descriptor_id: str
    name: str
    version: str
    provider: str
    format: str
    content_sha256: str = Field(index=True)
    onboarding_state: str
    operational_state: str
    usage_state: str
    created_s: float
    artifacts: dict[str, Any] = Field(sa_column=_json())
    descriptor: dict[str, Any] = Field(sa_column=_json())
    findings: list[Any] = Field(sa_column=_json())


class NsRow(SQLModel, table=True):
    __tablename__ = "manor_ns_instance"
    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    nsd_id: str
    nsd_package: str = Field(index=True)
    flavour_id: str
    state: str
    description: str
    parameters: dict[str, Any] = Field(sa_column=_json())
    created_s: float
    last_operation: str


class Desired(SQLModel, table=True):
    """What should be there, as the last completed operation left it. Apart from the instance, so lists stay light."""

    __tablename__ = "manor_desired"
    ns_id: str = Field(sa_column=Column(String, ForeignKey(NsRow.id, ondelete="CASCADE"), primary_key=True))
    desired: dict[str, Any] = Field(sa_column=_json())


class VnfRow(SQLModel, table=True):
    __tablename__ = "manor_vnf_instance"
    __table_args__ = (Index("manor_vnf_instance_name", "name", "id"),)
    id: str = Field(primary_key=True)
    name: str
    ns_id: str = Field(sa_column=Column(String, ForeignKey(NsRow.id, ondelete="CASCADE"), nullable=False, index=True))
    profile_id: str
    index: int
    vnfd_id: str
    flavour_id: str
    vnfm: str
    instantiation_state: str
    vnf_state: str
    scale_levels: dict[str, Any] = Field(sa_column=_json())
    vdu_counts: dict[str, Any] = Field(sa_column=_json())
    information: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False, server_default=text("'{}'")))


class OperationRow(SQLModel, table=True):
    """History outlives the service, so ``ns_id`` is not a foreign key."""

    __tablename__ = "manor_operation"
    __table_args__ = (
        Index("manor_operation_active", "ns_id", unique=True, sqlite_where=_ACTIVE, postgresql_where=_ACTIVE),
        Index("manor_operation_start", "start_s", "id"),
        Index("manor_operation_ns", "ns_id", "start_s"),
    )
    id: str = Field(primary_key=True)
    ns_id: str
    ns_name: str
    operation: str
    state: str
    on_failure: str
    start_s: float
    state_entered_s: float
    is_automatic: bool
    is_cancel_pending: bool
    cancel_mode: str
    epoch: int
    attempt: int
    error: str
    hint: str
    params: dict[str, Any] = Field(sa_column=_json())
    orphans: list[Any] = Field(sa_column=_json())
    mode: str
    """Which way the worker goes: forward, backward, sweep or drain (:mod:`manor.lcm.wave`); empty for no work."""
    revision: int
    """Raised by each commit that a watcher may care about."""
    target: dict[str, Any] = Field(sa_column=_json())
    """What the service becomes when the operation completes."""
    plan: dict[str, Any] = Field(sa_column=_json())
    """The plan without its steps: notes, placement, what stays as it is."""


class StepRow(SQLModel, table=True):
    __tablename__ = "manor_step"
    operation_id: str = Field(
        sa_column=Column(String, ForeignKey(OperationRow.id, ondelete="CASCADE"), primary_key=True)
    )
    position: int = Field(primary_key=True)
    step: dict[str, Any] = Field(sa_column=_json())
    state: str
    attempt: int
    planned_s: float
    started_s: float
    ended_s: float
    error: str
    hint: str
    error_class: str
    native_id: str


class WorkerRow(SQLModel, table=True):
    """A process that runs operations, and when it last said so by the database's own clock."""

    __tablename__ = "manor_worker"
    id: str = Field(primary_key=True)
    beat_s: float
    started_s: float
    place: str


class AlarmRow(SQLModel, table=True):
    """``record`` is the whole alarm; the columns beside it are what is searched by."""

    __tablename__ = "manor_alarm"
    __table_args__ = (
        Index("manor_alarm_fault", "fault", unique=True, sqlite_where=_UNCLEARED, postgresql_where=_UNCLEARED),
        Index("manor_alarm_raised", "raised_s", "id"),
    )
    id: str = Field(primary_key=True)
    fault: str
    ns_id: str
    raised_s: float
    cleared_s: float
    record: dict[str, Any] = Field(sa_column=_json())


class RulingRow(SQLModel, table=True):
    """Decisions outlive their alarm: they are the history that budgets count."""

    __tablename__ = "manor_ruling"
    __table_args__ = (Index("manor_ruling_time", "time_s"), Index("manor_ruling_alarm", "alarm_id", "time_s"))
    id: str = Field(primary_key=True)
    alarm_id: str
    time_s: float
    operation_id: str
    record: dict[str, Any] = Field(sa_column=_json())


class NotificationRow(SQLModel, table=True):
    """Numbers are never given twice, also when all were pruned: a reader's place stays true."""

    __tablename__ = "manor_notification"
    __table_args__ = (Index("manor_notification_time", "time_s"), {"sqlite_autoincrement": True})
    seq: int | None = Field(default=None, primary_key=True)
    type: str
    time_s: float
    ns_id: str
    body: dict[str, Any] = Field(sa_column=_json())


class SubscriptionRow(SQLModel, table=True):
    __tablename__ = "manor_subscription"
    id: str = Field(primary_key=True)
    callback_uri: str
    types: list[str] = Field(sa_column=_json())
    ns_id: str
    secret_file: str
    created_s: float
    cursor: int
    failures: int
    error: str


class PmJobRow(SQLModel, table=True):
    __tablename__ = "manor_pm_job"
    id: str = Field(primary_key=True)
    created_s: float
    record: dict[str, Any] = Field(sa_column=_json())


class PmReportRow(SQLModel, table=True):
    __tablename__ = "manor_pm_report"
    __table_args__ = (Index("manor_pm_report_job", "job_id", "time_s"),)
    id: str = Field(primary_key=True)
    job_id: str
    time_s: float
    record: dict[str, Any] = Field(sa_column=_json())


class ThresholdRow(SQLModel, table=True):
    __tablename__ = "manor_threshold"
    id: str = Field(primary_key=True)
    created_s: float
    record: dict[str, Any] = Field(sa_column=_json())
