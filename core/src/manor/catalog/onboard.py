"""On-board packages: read, reviewed, kept by content, and in the database, whole or not at all.

CREATED, UPLOADING and PROCESSING pass inside one call; the row is written once, in the transaction that makes the
package ONBOARDED, after its files are on disk. What fails before leaves files that nothing refers to, swept at once;
what dies before leaves them for the next sweep.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from manor.api.records import DescriptorFormat, Finding, Severity
from manor.catalog import contents
from manor.catalog.discover import Found, Wrapping, discover
from manor.catalog.files import PackageFiles, read_text_file
from manor.catalog.package import ItemKind, PackageReading
from manor.catalog.report import Report
from manor.errors import DescriptorError, UsageError
from manor.model.instance import OnboardingState, OperationalState, PackageInfo, PackageKind
from manor.model.nsd import Nsd
from manor.model.vnfd import Vnfd

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection

__all__ = ["Keeper", "delete", "descriptor_json", "onboard"]

_BOOT_DATA_MOST = 1 << 20
_STALE_STAGING_S = 86_400.0


class _Store(Protocol):
    def begin(self) -> AbstractContextManager[Connection]: ...

    def read(self) -> AbstractContextManager[Connection]: ...


class _Provided(Protocol):
    @property
    def record(self) -> DescriptorFormat: ...


class _Plugins(Protocol):
    def descriptor_formats(self) -> Mapping[str, _Provided]: ...

    def review_descriptor(self, descriptor: Mapping[str, Any]) -> Sequence[Finding]: ...


class Keeper(Protocol):
    """What on-boarding needs of the installation."""

    @property
    def home(self) -> Path: ...

    @property
    def store(self) -> _Store: ...

    @property
    def plugins(self) -> _Plugins: ...


def descriptor_json(descriptor: Vnfd | Nsd) -> dict[str, Any]:
    """A descriptor as JSON values; ``TypeAdapter(Vnfd)`` or ``TypeAdapter(Nsd)`` of pydantic reads it back."""
    return asdict(descriptor)


def onboard(keeper: Keeper, paths: Iterable[Path], *, now: Callable[[], float] = time.time) -> list[PackageInfo]:
    """Keep every package under these paths, VNF packages first; all are read before any is kept.

    One that is kept already with the same content is left as it is. Raises DescriptorError where one is refused, by
    its reading or by a review, and UsageError where there is none or another package has its descriptor id.
    """
    found = [each for path in paths for each in discover(Path(path))]
    readable = [kind for each in found if (kind := _check(keeper, each)) is not None]
    if not readable:
        raise UsageError("there is no package or descriptor to on-board", hint="manor package validate PATH")
    _ = keeper.store  # opened before there is a file of ours: else its home would look used, and its database lost
    contents.sweep_staging(keeper.home, _STALE_STAGING_S, now())
    readable.sort(key=lambda each: each[0] is ItemKind.NSD)
    return [_keep(keeper, each, now) for _, each in readable]


def _check(keeper: Keeper, found: Found) -> tuple[ItemKind, Found] | None:
    with _reading(keeper, found) as (_, reading, _report):
        return None if reading.kind is ItemKind.OTHER else (reading.kind, found)


@contextmanager
def _reading(keeper: Keeper, found: Found) -> Iterator[tuple[PackageFiles, PackageReading, Report]]:
    """A package, open and read and reviewed. Raises DescriptorError where it is refused."""
    files = found.open()
    try:
        report = Report()
        formats = [each.record for each in keeper.plugins.descriptor_formats().values()]
        reading = found.read(files, report, formats)
        if reading.kind is not ItemKind.OTHER:
            reading = _settle(keeper, found, reading, files, report)
        yield files, reading, report
    finally:
        files.close()


def _settle(
    keeper: Keeper, found: Found, reading: PackageReading, files: PackageFiles, report: Report
) -> PackageReading:
    if reading.kind in (ItemKind.VNFFGD, ItemKind.PNFD):
        what = "forwarding graph alone" if reading.kind is ItemKind.VNFFGD else "physical function"
        report.error("kind-not-kept", f"a {what} is not kept; it is part of an NSD", file=reading.entry)
    if isinstance(reading.descriptor, Vnfd):
        reading = replace(reading, descriptor=_with_boot_data(reading.descriptor, files, report))
    if reading.descriptor is not None and not report.refused:
        kind = "vnfd" if isinstance(reading.descriptor, Vnfd) else "nsd"
        report.extend(keeper.plugins.review_descriptor({"kind": kind, **descriptor_json(reading.descriptor)}))
    if report.refused or reading.descriptor is None:
        first = next((each for each in report.findings if each.severity is Severity.ERROR), None)
        why = first.message if first else "there is no descriptor in it"
        message = f"{found.path} is refused: {why}"
        raise DescriptorError(message, findings=report.findings, hint=f"manor package validate {found.path}")
    return reading


def _with_boot_data(vnfd: Vnfd, files: PackageFiles, report: Report) -> Vnfd:
    """Day-0 data that a VDU has in a file, read in."""
    flavours = []
    for df in vnfd.flavours:
        vdus = []
        for vdu in df.vdus:
            if vdu.boot_data_file in files.sizes and not vdu.boot_data:
                try:
                    text = read_text_file(files, vdu.boot_data_file, _BOOT_DATA_MOST).decode("utf-8")
                except DescriptorError as error:
                    report.extend(error.findings)
                    continue
                except UnicodeDecodeError:
                    report.error("text-encoding", "boot data is not UTF-8 text", file=vdu.boot_data_file)
                    continue
                vdu = replace(vdu, boot_data=text)
            elif vdu.boot_data_file and not vdu.boot_data:
                message = f"VDU {vdu.id}: boot data {vdu.boot_data_file[:200]} is not in the package"
                report.error("boot-data-missing", message)
            vdus.append(vdu)
        flavours.append(replace(df, vdus=tuple(vdus)))
    return replace(vnfd, flavours=tuple(flavours))


def _names(found: Found, reading: PackageReading, files: PackageFiles) -> list[str]:
    """What to keep: all of a package; of what lies around a loose descriptor only what it names."""
    if found.wrapping is not Wrapping.LOOSE:
        return list(files.sizes)
    named = [reading.entry]
    if isinstance(reading.descriptor, Vnfd):
        named += [image.file for image in reading.descriptor.images]
        named += [each.script for each in (*reading.descriptor.scripts, *reading.descriptor.actions)]
        named += [vdu.boot_data_file for df in reading.descriptor.flavours for vdu in df.vdus]
    return [name for name in dict.fromkeys(named) if name in files.sizes]


def _keep(keeper: Keeper, found: Found, now: Callable[[], float]) -> PackageInfo:
    from manor.store import packages

    with _reading(keeper, found) as (files, reading, report):
        staged = contents.stage(keeper.home, files, _names(found, reading, files))
    try:
        info = _info(reading, staged, now())
        assert reading.descriptor is not None
        with contents.locked(keeper.home):
            contents.publish(keeper.home, staged)
            try:
                with keeper.store.begin() as tx:
                    known = packages.by_descriptor(tx, info.kind, info.descriptor_id)
                    if known is not None and known.content_sha256 == info.content_sha256:
                        return known
                    packages.add(tx, info, descriptor=descriptor_json(reading.descriptor), findings=report.findings)
            except BaseException:
                _sweep(keeper)
                raise
    finally:
        contents.discard(staged.folder)
    return info


def _info(reading: PackageReading, staged: contents.Staged, now_s: float) -> PackageInfo:
    descriptor = reading.descriptor
    if isinstance(descriptor, Vnfd):
        kind, name, provider = PackageKind.VNF, descriptor.product_name, descriptor.provider
    else:
        assert descriptor is not None
        kind, name, provider = PackageKind.NS, descriptor.name, descriptor.designer
    return PackageInfo(
        id=str(uuid.uuid4()),
        kind=kind,
        descriptor_id=descriptor.id,
        name=name or descriptor.id,
        version=descriptor.version,
        provider=provider,
        format=reading.format,
        content_sha256=contents.content_hash(staged.files),
        onboarding_state=OnboardingState.ONBOARDED,
        operational_state=OperationalState.ENABLED,
        created_s=now_s,
        artifacts={name: file.sha256 for name, file in staged.files.items()},
    )


def delete(keeper: Keeper, package_id: str) -> None:
    """Let go of a package and of every file that only it has.

    ETSI has it DISABLED and NOT_IN_USE before it is deleted; being asked to delete one that is not used disables it.
    Raises UsageError where a service uses it.
    """
    from manor.store import packages

    with contents.locked(keeper.home):
        with keeper.store.begin() as tx:
            info = packages.get(tx, package_id, hold=True)
            users = packages.used_by(tx, info)
            if users:
                raise UsageError(
                    f"package {info.name} is in use by {', '.join(users[:5])}",
                    hint=f"manor ns delete {users[0]}, or manor package disable {info.name}",
                )
            packages.remove(tx, info.id)
        _sweep(keeper)


def _sweep(keeper: Keeper) -> None:
    from manor.store import packages

    with keeper.store.read() as tx:
        referred = {sha256 for info in packages.all_of(tx) for sha256 in info.artifacts.values()}
    contents.sweep(keeper.home, referred)
