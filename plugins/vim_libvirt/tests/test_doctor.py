"""What ``manor doctor`` says of a machine whose libvirtd does not answer."""

from pathlib import Path

import pytest

from manor.api import CallContext, Severity
from manor_vim_libvirt import doctor


@pytest.mark.parametrize(
    ("name", "severity"), [("libvirt", Severity.ERROR), ("kvm", Severity.WARNING), ("memory", Severity.WARNING)]
)
def test_what_could_not_be_tried_is_not_told_as_well(
    name: str, severity: Severity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_URI", f"qemu+unix:///system?socket={tmp_path}/nobody")
    (check,) = (check for check in doctor.checks() if check.name == name)
    found = list(check.check(CallContext.within(60.0)))
    assert [finding.severity for finding in found] == [severity]
    assert found[0].hint
