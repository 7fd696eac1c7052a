"""From a step to a driver's verb: the thin shim by which plans act on the world."""

from __future__ import annotations

import functools
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from manor.api import (
    CallContext,
    ChainSpec,
    Guest,
    GuestAccess,
    GuestResult,
    ImageSpec,
    NodeSpec,
    Observed,
    Phase,
    PowerState,
    Query,
    ResourceKind,
    ResourceRef,
    Script,
    SegmentSpec,
    Step,
    Verb,
    VnfView,
    spec_from_json,
)
from manor.errors import (
    DeadlineExceeded,
    DriverError,
    Indeterminate,
    ManorError,
    Permanent,
    Transient,
    Unreachable,
    Unsupported,
)
from manor.lcm.chainprobe import fault, probe_chain, probes
from manor.lcm.gating import stand
from manor.lcm.playbooks import is_playbook
from manor.lcm.scripts import script_from_json
from manor.lcm.ssh import SshGuest, forget
from manor.lcm.tokens import given_secrets, revealed, view_revealed
from manor.secrets import hide

__all__ = ["Connections", "Driving", "VimGuest", "vnf_view"]

_ANEW = ("create", "replace", "remove")
"""Changes after which a machine may have another host key; what is ensured after a removal takes the removal back."""
_POLL_FIRST_S = 0.05
_POLL_GROWTH = 1.1
"""What is waited for is seen a tenth of its time late at most, and a long wait costs few looks."""
_POLL_MOST_S = 1.0
_PROBE_S = 30.0
"""How long a chain whose rules are in may take until probes come through: a function may need a moment to forward."""


class Connections(Protocol):
    """Where drivers come from: a :class:`~manor.lcm.runtime.Runtime`."""

    @property
    def owner(self) -> str:
        """The installation's owner tag."""
        ...

    def driver(self, endpoint: str) -> Any:
        """The guarded connection for a step's endpoint, as ``vim:lab``."""
        ...

    @property
    def home(self) -> Path:
        """Where Manor keeps its state."""
        ...

    def play(self, view: VnfView, guests: Mapping[str, Any], script: Script, ctx: CallContext) -> None:
        """Run a playbook, where it is allowed."""
        ...

    def tokens_given(self, operation_id: str) -> frozenset[str]:
        """Tokens that the operator gave for this operation and its service."""
        ...


def _is_forgiving(step: Step) -> bool:
    """Whether what fails here holds up nothing."""
    return step.verb is Verb.QUIESCE or bool((step.spec or {}).get("forgiving"))


@dataclass(frozen=True, kw_only=True, slots=True)
class VimGuest:
    """The way into one machine through its VIM; an api ``Guest``."""

    vim: Any
    ref: ResourceRef

    def ping(self, ctx: CallContext) -> bool:
        """Whether the agent inside answers."""
        return bool(self._access().guest_ping(self.ref, ctx))

    def run(self, argv: Sequence[str], ctx: CallContext, *, stdin: bytes = b"") -> GuestResult:
        """Run a program inside and wait for it. Raises Unsupported where the VIM has no way in."""
        return self._access().guest_exec(self.ref, argv, ctx, stdin=stdin)

    def _access(self) -> GuestAccess:
        if not isinstance(self.vim, GuestAccess):
            raise Unsupported(f"the VIM of {self.ref.key} has no way into guests", capability="guest-access")
        return self.vim


def vnf_view(data: Mapping[str, Any]) -> VnfView:
    """The view that a check's step carries."""
    view: VnfView = _view_reader().validate_python(data)
    return view


@functools.cache
def _view_reader() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(VnfView)


@dataclass(frozen=True, kw_only=True, slots=True)
class Driving:
    """Performs steps through live connections. Several threads use one."""

    rt: Connections
    sleep: Callable[[float], None] = time.sleep

    def perform(self, step: Step, ctx: CallContext) -> Observed | None:
        """Do what the step says. Raises DriverError."""
        try:
            secrets = given_secrets(self.rt, step, ctx)
        except Permanent as error:
            if not _is_forgiving(step):
                raise
            ctx.log.warning("%s; it goes without", error.message)
            return None
        if not secrets:
            return self._perform(step, ctx)
        try:
            return self._perform(step, replace(ctx, secrets=secrets))
        except ManorError as error:
            error.message, error.hint = (hide(text, secrets.values()) for text in (error.message, error.hint))
            error.args = (error.message,)
            raise

    def _perform(self, step: Step, ctx: CallContext) -> Observed | None:
        if step.verb is Verb.ENSURE:
            return self._ensure(step, ctx)
        if step.verb is Verb.REMOVE:
            self._remove(step, ctx)
            return None
        if step.verb is Verb.CONFIGURE:
            return self._until(self._configured, step, ctx)
        if step.verb is Verb.QUIESCE:
            self._quiesce(step, ctx)
            return None
        return self._verify(step, ctx)

    def observe(self, step: Step, ctx: CallContext) -> Observed | None:
        """The step's resource as it is, or None where it is not there or the step is about no resource."""
        if step.verb in (Verb.CONFIGURE, Verb.VERIFY, Verb.QUIESCE):
            return None
        return self._seen(step, step.key, ctx)

    def _ensure(self, step: Step, ctx: CallContext) -> Observed:
        if step.spec is None:
            raise Permanent(f"{step.id}: the plan holds no spec", hint="make the plan anew")
        spec = spec_from_json(step.spec)
        driver = self.rt.driver(step.endpoint)
        if isinstance(spec, SegmentSpec | ChainSpec):
            observed: Observed = driver.apply(driver.compile(spec, driver.topology(ctx)), ctx)
        else:
            if isinstance(spec, NodeSpec) and self._is_new(step, spec, ctx):
                forget(self.rt.home, spec.key)
            if isinstance(spec, ImageSpec) and not Path(spec.source).exists():
                there = self._seen(step, step.key, ctx)
                if there is not None and there.phase is Phase.ACTIVE:
                    return there
                spec = self._at_hand(spec)
            observed = driver.ensure(spec, ctx)
        return observed

    def _is_new(self, step: Step, spec: NodeSpec, ctx: CallContext) -> bool:
        """Whether the machine may have another host key afterwards.

        One that is repaired keeps its disk, and the key on it. What boots from memory makes a key at each boot: it is
        held to the old one only where its ports alone are put back. Who can pull a port may not have it forgotten.
        """
        if step.change != "repair":
            return step.change in _ANEW
        if spec.disks and not spec.boot.kernel:
            return False
        seen = self._seen(step, step.key, ctx)
        return seen is None or not seen.detail.get("unplugged")

    def _remove(self, step: Step, ctx: CallContext) -> None:
        try:
            ref = ResourceRef(kind=ResourceKind(step.kind), key=step.key, host=step.host)
            self.rt.driver(step.endpoint).remove(ref, ctx)
        except Unreachable as error:
            if not error.hosts or not error.hosts.keys() <= set((step.spec or {}).get("without", ())):
                raise
            ctx.log.warning("%s: %s", step.id, error.message)
        if step.kind == ResourceKind.NODE and step.before is not None:  # a leftover may have the key of one that runs
            forget(self.rt.home, step.key)

    def _at_hand(self, spec: ImageSpec) -> ImageSpec:
        """The image with its file where this node keeps it: who made the plan may have another home."""
        from manor.catalog.contents import artifact_path

        mine = artifact_path(self.rt.home, spec.sha256)
        if not mine.exists():
            raise Permanent(
                f"the file of image {spec.name} is not on this node ({socket.gethostname()}): {mine}",
                hint="share packages/ among the nodes, or run manor package onboard PATH on this one",
            )
        return replace(spec, source=str(mine))

    def _configured(self, step: Step, ctx: CallContext) -> None:
        view, guests = self._inside(step, ctx)
        data = step.spec or {}
        if "script" not in data:
            try:
                self.rt.driver(step.endpoint).configure(view, guests, ctx)
            except DeadlineExceeded:
                raise
            except Indeterminate as error:
                # It may be done twice, so there is nothing to find out: a machine that boots is asked until it answers.
                raise Transient(error.message, hint=error.hint) from error
            return
        try:
            script = revealed(script_from_json(data["script"]), ctx)
            if is_playbook(script):
                self.rt.play(view, guests, script, ctx)
            else:
                self.rt.driver(step.endpoint).run_script(view, guests, script, ctx)
        except DriverError as error:
            if not _is_forgiving(step):
                raise
            ctx.log.warning("%s: %s; it goes without", step.id, hide(error.message, ctx.secrets.values()))

    def _quiesce(self, step: Step, ctx: CallContext) -> None:
        """Drain as far as it goes: what fails or lasts too long holds up no removal."""
        if ctx.patience_s == 0:
            return
        view, guests = self._inside(step, ctx)
        try:
            self.rt.driver(step.endpoint).quiesce(view, guests, ctx)
        except DriverError as error:
            ctx.log.warning("%s: %s; it goes undrained", step.id, hide(error.message, ctx.secrets.values()))

    def _verify(self, step: Step, ctx: CallContext) -> Observed | None:
        """Wait until it is true. Raises DeadlineExceeded saying what was still wrong, Permanent where it broke."""
        if step.kind == "kpi":
            stand(self.rt, step, ctx, self.sleep)
            return None
        seen = self._until(self._healthy if step.kind in ("vnf", "vdu") else self._active, step, ctx)
        spec = spec_from_json(step.spec) if step.kind == ResourceKind.CHAIN and step.spec else None
        if isinstance(spec, ChainSpec) and probes(driver := self.rt.driver(step.endpoint), ctx):
            spare_s = max(0.0, ctx.remaining_s() - _PROBE_S)
            self._until(lambda _step, ctx: self._steered(driver, spec, ctx), step, ctx, spare_s=spare_s)
        return seen

    def _until(
        self,
        look: Callable[[Step, CallContext], Observed | None],
        step: Step,
        ctx: CallContext,
        *,
        spare_s: float = 0.0,
    ) -> Observed | None:
        """Look until it is true, or no more than ``spare_s`` seconds are left."""
        import tenacity

        def told(state: tenacity.RetryCallState) -> bool:
            # Nothing is slept past the deadline or a cancel.
            return ctx.remaining_s() - spare_s <= state.upcoming_sleep or ctx.is_cancelled()

        reason: Transient | None = None

        def looked() -> Observed | None:
            nonlocal reason
            try:
                return look(step, ctx)
            except (Transient, DeadlineExceeded) as error:
                if reason is not None and not ctx.remaining_s():
                    raise reason from error  # what ran out of time does not know why; the look before it did
                reason = error if isinstance(error, Transient) else None
                raise

        try:
            for attempt in tenacity.Retrying(
                wait=tenacity.wait_exponential(multiplier=_POLL_FIRST_S, exp_base=_POLL_GROWTH, max=_POLL_MOST_S),
                stop=told,
                sleep=self.sleep,
                retry=tenacity.retry_if_exception_type(Transient),
                reraise=True,
            ):
                with attempt:
                    return looked()
        except Transient as error:
            raise DeadlineExceeded(
                f"{step.summary or step.id}: {error.message}", hint=error.hint or "look at the machine's console"
            ) from error
        raise AssertionError("tenacity always returns or raises")

    def _active(self, step: Step, ctx: CallContext) -> Observed:
        data = step.spec or {}
        key = str(data.get("resource", step.key))
        seen = self._seen(step, key, ctx)
        wanted = Phase.STOPPED if data.get("power") == PowerState.STOPPED else Phase.ACTIVE
        if seen is not None and seen.phase is wanted:
            return seen
        if seen is not None and seen.phase is Phase.ERROR:
            raise Permanent(f"{key} is in error: {seen.detail.get('reason', 'no reason given')}")
        what = "not there" if seen is None else f"{seen.phase}, not {wanted}"
        missing = seen.detail.get("missing") if seen is not None else None
        raise Transient(f"{key} is {what}" + (f": missing {missing}" if missing else ""))

    def _steered(self, driver: Any, spec: ChainSpec, ctx: CallContext) -> None:
        """Probes were seen at every hop. Raises Transient naming the one where they stop."""
        try:
            wrong = fault(spec, probe_chain(driver, spec, ctx))
        except DeadlineExceeded as error:
            raise Transient(error.message, hint=error.hint) from error
        if wrong:
            raise Transient(wrong, hint="manor chain verify shows every hop; is the function up, and does it forward?")

    def _healthy(self, step: Step, ctx: CallContext) -> None:
        view, guests = self._inside(step, ctx)
        try:
            health = self.rt.driver(step.endpoint).health(view, guests, ctx)
        except DeadlineExceeded as error:
            raise Transient(error.message, hint=error.hint) from error
        if not health.ready:
            raise Transient(health.reason or "not ready", hint=f"manor vnf console {view.service}/{view.name}")

    def _inside(self, step: Step, ctx: CallContext) -> tuple[VnfView, dict[str, Guest]]:
        data = step.spec or {}
        view = view_revealed(vnf_view(data["view"]), ctx)
        guests: dict[str, Guest] = {
            key: SshGuest(uri=way, key=key, home=self.rt.home)
            if way.startswith("ssh://")
            else VimGuest(vim=self.rt.driver(way), ref=ResourceRef(kind=ResourceKind.NODE, key=key))
            for key, way in data.get("nodes", {}).items()
        }
        return view, guests

    def _seen(self, step: Step, key: str, ctx: CallContext) -> Observed | None:
        """What is there where the step is at work: hosts that it has nothing to do with may be silent."""
        query = Query(
            owner=self.rt.owner,
            kinds=frozenset({ResourceKind(step.kind)}),
            keys=frozenset({key}),
            hosts=frozenset({step.host}) if step.host else None,
        )
        found = self.rt.driver(step.endpoint).observe(query, ctx)
        return found[0] if found else None
