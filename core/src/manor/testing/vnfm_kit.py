"""The VNF manager contract, as tests: pure before the start, idempotent after it, honest about what is not seen."""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from manor.api import BootData, CallContext, Guest, GuestResult, Health, VnfcView, Vnfm, VnfView
from manor.errors import DeadlineExceeded, DriverError, ManorError, Transient
from manor.testing.conformance import Conformance

__all__ = ["KitGuest", "VnfmConformance", "VnfmSpecs"]

_SECRET = "kit-secret-7f3a"  # noqa: S105 - a bait


class KitGuest:
    """A machine's inside: remembers what ran, and answers as it was told to."""

    def __init__(self, *, exit_code: int = 0, silent: bool = False) -> None:
        self.ran: list[tuple[str, ...]] = []
        self.exit_code = exit_code
        self.silent = silent
        """No agent answers."""

    def ping(self, ctx: CallContext) -> bool:
        """As :class:`manor.api.Guest`."""
        ctx.check("pinging")
        return not self.silent

    def run(self, argv: Sequence[str], ctx: CallContext, *, stdin: bytes = b"") -> GuestResult:  # noqa: ARG002
        """As :class:`manor.api.Guest`."""
        ctx.check("running")
        if self.silent:
            raise Transient("no agent answers", retry_after_s=0.1)
        self.ran.append(tuple(argv))
        return GuestResult(exit_code=self.exit_code, stdout=b"", stderr=_SECRET.encode())


@dataclass(kw_only=True)
class VnfmSpecs:
    """What the kit shows a manager."""

    runs_day1: bool = True
    """The manager runs the package's day-1 commands as they stand."""
    fails_on_exit: bool = True
    """A command that exits non-zero fails ``configure``."""
    sees_silence: bool = True
    """A machine whose agent does not answer makes the VNF not ready."""
    day1: tuple[tuple[str, ...], ...] = (("touch", "/run/one"), ("touch", "/run/two"))
    parameters: dict[str, Any] = field(default_factory=dict)
    """What the VNF is given, as the operator's ``--param`` would."""
    boot_template: str = "#cloud-config\n"
    deadline_s: float = 30.0
    parallel: int = 8
    """Stress: so many VNFs at once; 0 leaves that test out."""

    def vnf(self, name: str = "fw", machines: int = 2) -> VnfView:
        """A VNF of one VDU."""
        vnfcs = tuple(
            VnfcView(
                key=f"1a2b3c4d/vnf/{name}/main-{at}",
                name=f"{name}-main-{at}",
                vdu_id="main",
                index=at,
                addresses={"cp": (f"10.0.0.{at + 1}/24",)},
            )
            for at in range(machines)
        )
        return VnfView(
            id=f"vnf-{name}",
            name=name,
            service="shop",
            vnfd_id="vnfd",
            flavour_id="default",
            vnfcs=vnfcs,
            parameters=self.parameters,
            boot_templates={"main": self.boot_template},
            day1={"main": tuple((*argv, name) for argv in self.day1)},
        )

    def guests(self, vnf: VnfView, **how: Any) -> dict[str, KitGuest]:
        """A guest for each machine."""
        return {vnfc.key: KitGuest(**how) for vnfc in vnf.vnfcs}

    def context(self) -> CallContext:
        """A context for one call."""
        return CallContext.within(self.deadline_s)


class VnfmConformance(Conformance):
    """Subclass it, and give the fixture ``manager``; ``specs`` where needed."""

    @pytest.fixture
    def manager(self) -> Vnfm:
        """A connected manager."""
        raise NotImplementedError("give a fixture 'manager' that returns a Vnfm")

    @pytest.fixture
    def specs(self) -> VnfmSpecs:
        """What to show it."""
        return VnfmSpecs()

    @pytest.fixture
    def vnf(self, specs: VnfmSpecs) -> VnfView:
        """A VNF of two machines."""
        return specs.vnf()

    # day 0

    def test_boot_data_is_pure(self, manager: Vnfm, vnf: VnfView) -> None:
        before = copy.deepcopy(vnf)
        for vnfc in vnf.vnfcs:
            first = manager.boot_data(vnf, vnfc)
            assert isinstance(first, BootData)
            assert isinstance(first.user_data, str)
            assert manager.boot_data(vnf, vnfc) == first, "it is part of the plan and of the spec's hash"
        assert vnf == before, "the view was changed"

    def test_boot_data_of_a_hostile_template_is_data_or_refused(self, manager: Vnfm, specs: VnfmSpecs) -> None:
        for template in ("{{ ''.__class__.__mro__ }}", "{% for x in range(10) %}", "{{ 1 / 0 }}", "\0", "${7*7}"):
            vnf = replace(specs.vnf(), boot_templates={"main": template})
            try:
                told = manager.boot_data(vnf, vnf.vnfcs[0]).user_data
            except ManorError as error:
                told = error.message
                assert "\n" not in told
            assert "<class" not in told, "the template ran"

    # day 1

    def test_configure_twice_succeeds(self, manager: Vnfm, specs: VnfmSpecs, vnf: VnfView) -> None:
        guests = specs.guests(vnf)
        manager.configure(vnf, guests, specs.context())
        manager.configure(vnf, guests, specs.context())

    def test_day1_runs_everywhere_in_order(self, manager: Vnfm, specs: VnfmSpecs, vnf: VnfView) -> None:
        if not specs.runs_day1:
            pytest.skip("specs.runs_day1 is False")
        guests = specs.guests(vnf)
        manager.configure(vnf, guests, specs.context())
        for key, guest in guests.items():
            assert [argv for argv in guest.ran if argv in vnf.day1["main"]] == list(vnf.day1["main"]), key

    def test_a_failed_command_is_told_without_secrets(self, manager: Vnfm, specs: VnfmSpecs) -> None:
        if not (specs.runs_day1 and specs.fails_on_exit):
            pytest.skip("specs say that a failed command is no failure")
        vnf = replace(specs.vnf(), day1={"main": (("login", "--password", f"{_SECRET}-argv"),)})
        with pytest.raises(ManorError) as caught:
            manager.configure(vnf, specs.guests(vnf, exit_code=1), specs.context())
        assert f"{_SECRET}-argv" not in caught.value.message + caught.value.hint, "arguments may hold secrets"
        assert any(name in caught.value.message for vnfc in vnf.vnfcs for name in (vnfc.key, vnfc.name)), "which one?"
        assert "\n" not in caught.value.message

    def test_a_silent_machine_is_not_configured(self, manager: Vnfm, specs: VnfmSpecs, vnf: VnfView) -> None:
        if not specs.runs_day1:
            pytest.skip("specs.runs_day1 is False")
        with pytest.raises(DriverError):
            manager.configure(vnf, specs.guests(vnf, silent=True), specs.context())

    def test_no_time_left_means_no_effect(self, manager: Vnfm, specs: VnfmSpecs, vnf: VnfView) -> None:
        if not specs.runs_day1:
            pytest.skip("specs.runs_day1 is False")
        guests = specs.guests(vnf)
        with pytest.raises(DeadlineExceeded):
            manager.configure(vnf, guests, CallContext.within(-1))
        assert not any(guest.ran for guest in guests.values())

    def test_machines_go_by_key(self, manager: Vnfm, specs: VnfmSpecs) -> None:
        vnf, other = specs.vnf("fw"), specs.vnf("web")
        guests, others = specs.guests(vnf), specs.guests(other)
        turned: dict[str, Guest] = dict(reversed(guests.items()))
        manager.configure(vnf, turned, specs.context())
        manager.configure(other, others, specs.context())
        assert all("web" not in argv for guest in guests.values() for argv in guest.ran), "one VNF's work in another's"
        assert all("fw" not in argv for guest in others.values() for argv in guest.ran), "one VNF's work in another's"

    # health

    def test_well_is_ready(self, manager: Vnfm, specs: VnfmSpecs, vnf: VnfView) -> None:
        guests = specs.guests(vnf)
        manager.configure(vnf, guests, specs.context())
        health = manager.health(vnf, guests, specs.context())
        assert isinstance(health, Health)
        assert health.ready, health.reason
        assert set(health.checks) <= set(guests)
        assert manager.health(vnf, guests, specs.context()) == health, "looking changed something"

    def test_silence_is_not_ready_and_no_error(self, manager: Vnfm, specs: VnfmSpecs, vnf: VnfView) -> None:
        one_silent: dict[str, Guest] = {**specs.guests(vnf), vnf.vnfcs[1].key: KitGuest(silent=True)}
        health = manager.health(vnf, one_silent, specs.context())
        if specs.sees_silence:
            assert not health.ready
            assert health.reason.strip(), "not ready, but why?"
            assert health.checks.get(vnf.vnfcs[0].key, True)
            assert not health.checks.get(vnf.vnfcs[1].key, False)

    def test_health_of_machines_that_are_not_there_is_no_error(
        self, manager: Vnfm, specs: VnfmSpecs, vnf: VnfView
    ) -> None:
        assert isinstance(manager.health(vnf, {}, specs.context()), Health)

    # the end

    def test_quiesce_of_absent_machines_succeeds(self, manager: Vnfm, specs: VnfmSpecs, vnf: VnfView) -> None:
        manager.quiesce(vnf, {}, specs.context())
        guests: dict[str, Guest] = {vnf.vnfcs[0].key: KitGuest()}
        manager.quiesce(vnf, guests, specs.context())
        manager.quiesce(vnf, guests, specs.context())

    def test_quiesce_of_a_silent_machine_is_ours_to_answer(self, manager: Vnfm, specs: VnfmSpecs, vnf: VnfView) -> None:
        try:
            manager.quiesce(vnf, specs.guests(vnf, silent=True), specs.context())
        except DriverError as error:
            assert "\n" not in error.message  # noqa: PT017 - it need not raise

    def test_close_twice_succeeds(self, manager: Vnfm) -> None:
        manager.close()
        manager.close()

    def test_several_at_once(self, manager: Vnfm, specs: VnfmSpecs) -> None:
        if not specs.parallel:
            pytest.skip("specs.parallel is 0: the stress tier was not asked for")
        vnfs = [specs.vnf(f"vnf-{at}") for at in range(specs.parallel)]
        inside = [specs.guests(vnf) for vnf in vnfs]
        errors: list[BaseException] = []

        def work(vnf: VnfView, guests: dict[str, KitGuest]) -> None:
            try:
                manager.configure(vnf, guests, specs.context())
                assert manager.health(vnf, guests, specs.context()).ready
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=pair) for pair in zip(vnfs, inside, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors, errors
        for vnf, guests in zip(vnfs, inside, strict=True):
            foreign = {argv for guest in guests.values() for argv in guest.ran if argv[-1].startswith("vnf-")}
            assert all(argv[-1] == vnf.name for argv in foreign), "one VNF's work in another's"
