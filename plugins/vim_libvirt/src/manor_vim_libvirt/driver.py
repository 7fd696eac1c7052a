"""The VIM itself: verbs by kind of resource, over a set of hypervisors.

Each verb runs on a thread of the driver's own and the caller waits no longer than its deadline: libvirt calls cannot
be interrupted, but the work behind one checks the deadline before each effect, so what is late does nothing new.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, TypeVar, cast

from manor.api import (
    CallContext,
    Capabilities,
    ConsoleInfo,
    DriverEnvironment,
    GuestResult,
    Host,
    ImageSpec,
    NetworkSpec,
    NodeSpec,
    Observed,
    Query,
    ResourceKind,
    ResourceRef,
    ResourceSpec,
    Sample,
    SnapshotSpec,
    VimCapability,
    VolumeSpec,
)
from manor.errors import DeadlineExceeded, DriverError, NotFound, Permanent, Transient, Unreachable, Unsupported
from manor_vim_libvirt import capacity, guest, metering, nodes
from manor_vim_libvirt.config import LibvirtConfig
from manor_vim_libvirt.host import HostView
from manor_vim_libvirt.names import domain_uuid

__all__ = ["LibvirtVim"]

T = TypeVar("T")
_THREADS = 64


class LibvirtVim:
    """A set of hypervisors as one VIM; also Metered, Console, GuestAccess and Eventful."""

    def __init__(self, config: LibvirtConfig, env: DriverEnvironment) -> None:
        self._owner = env.owner
        self._name = env.name
        self._hosts = {host.name: HostView(host, config, env) for host in config.hosts}
        self._pool = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix=f"vim-{env.name}")
        self._closed = threading.Event()
        self._heard = 0
        self._news = threading.Condition()
        for host in self._hosts.values():
            host.link.events.heard = self._hear

    # ---- Vim ----

    def capabilities(self, ctx: CallContext) -> Capabilities:
        """What can be had on these hosts and how much is free. Runs the KVM trial where no answer is remembered.

        A host that does not answer in time is not reachable; the others are told all the same.
        """
        ctx.check("looking at the hosts")
        asked = [(host, self._pool.submit(capacity.report, host, ctx)) for host in self._hosts.values()]

        def answer(host: HostView, call: Any) -> Host:
            try:
                return cast(Host, self._wait_for(call, ctx, host.name))
            except DeadlineExceeded as error:
                return capacity.silent(host, error.message)

        return capacity.combine([answer(host, call) for host, call in asked])

    def observe(self, query: Query, ctx: CallContext) -> Sequence[Observed]:
        """Every resource of the owner that the query admits, on all hosts that it asks.

        Raises Unreachable where some do not answer.
        """
        ctx.check("observing")
        views = [host for host in self._hosts.values() if query.asks(host.name)]

        def look(host: HostView) -> list[Observed]:
            return host.link.run(lambda: host.observe(query, ctx), key="", doing="observing", effect=False)

        answers = self._on_all(views, look, ctx)
        found = [item for answer in answers.values() if not isinstance(answer, DriverError) for item in answer]
        silent = {host: answer.message for host, answer in answers.items() if isinstance(answer, DriverError)}
        if silent:
            raise Unreachable(
                f"{', '.join(silent)} of {self._name} cannot be looked at: {next(iter(silent.values()))}",
                hosts=silent, found=found, retry_after_s=2.0, hint="manor doctor",
            )  # fmt: skip
        return found

    def ensure(self, spec: ResourceSpec, ctx: CallContext) -> Observed:
        """Make the resource exist as specified, on the host that the spec names."""
        if not isinstance(spec, ImageSpec | NetworkSpec | VolumeSpec | NodeSpec | SnapshotSpec):
            raise Unsupported(f"{spec.key}: a VIM has no {spec.kind}", capability=str(spec.kind))
        host = self._host(spec.host, spec.key)
        ctx.check(f"ensuring {spec.kind} {spec.key}")

        def work() -> Observed:
            with host.link.locked(f"{spec.kind} {spec.key}", ctx):
                return host.ensure(spec, ctx)

        return self._bounded(host, work, spec.key, f"ensuring {spec.kind}", ctx, effect=True)

    def remove(self, ref: ResourceRef, ctx: CallContext) -> None:
        """Make the resource not exist; with no host given, on all of them."""
        if ref.kind in (ResourceKind.SEGMENT, ResourceKind.CHAIN):
            raise Unsupported(f"{ref.key}: a VIM has no {ref.kind}", capability=str(ref.kind))
        hosts = [self._host(ref.host, ref.key)] if ref.host else list(self._hosts.values())
        ctx.check(f"removing {ref.kind} {ref.key}")
        for host in hosts:

            def work(host: HostView = host) -> None:
                with host.link.locked(f"{ref.kind} {ref.key}", ctx):
                    host.remove(ref, self._owner, ctx)

            self._bounded(host, work, ref.key, f"removing {ref.kind}", ctx, effect=True)

    def close(self) -> None:
        """Let go of connections and threads. A call that hangs in libvirt ends with its keepalive."""
        if not self._closed.is_set():
            self._closed.set()
            self._hear()
            self._pool.shutdown(wait=False, cancel_futures=True)
            for host in self._hosts.values():
                host.link.close()

    # ---- Metered, Console, GuestAccess, Eventful ----

    def samples(self, refs: Collection[ResourceRef], ctx: CallContext) -> Iterable[Sample]:
        """Counters and gauges of these nodes, by one call a host. A host that does not answer has no samples."""
        ctx.check("measuring")
        wanted = {str(domain_uuid(self._owner, ref.key)): ref.key for ref in refs if ref.kind is ResourceKind.NODE}
        hosts = {ref.host for ref in refs}
        views = [host for host in self._hosts.values() if host.name in hosts or "" in hosts]

        def measure(host: HostView) -> list[Sample]:
            def work() -> list[Sample]:
                self._need_qemu(host, VimCapability.METERING)
                found: list[Sample] = []
                for domain, stats in host.link.connection().getAllDomainStats(metering.stats_flags(), 0):
                    key = wanted.get(domain.UUIDString())
                    if key is not None:
                        found += metering.read_samples(key, stats, {"host": host.name})
                return found

            try:
                return host.link.run(work, key="", doing="measuring", effect=False)
            except Unsupported:
                raise
            except DriverError as error:
                ctx.log.warning("no samples from host %s: %s", host.name, error.message)
                return []

        answers = self._on_all(views, measure, ctx).values()
        return [one for answer in answers if not isinstance(answer, DriverError) for one in answer]

    def console(self, ref: ResourceRef, ctx: CallContext) -> ConsoleInfo:
        """Log file and attaching command of a node's serial console."""
        host = self._holder(ref, ctx, VimCapability.CONSOLE)
        pool = host.pool(self._owner)
        argv = ("virsh", "-c", host.config.connect_uri, "console", str(domain_uuid(self._owner, ref.key)))
        return ConsoleInfo(log_path=pool.path_of(nodes.console_name(self._owner, ref.key)), argv=argv)

    def guest_ping(self, ref: ResourceRef, ctx: CallContext) -> bool:
        """Whether the agent inside answers now."""
        host = self._holder(ref, ctx, VimCapability.GUEST_ACCESS)
        work = lambda: guest.ping(host.link, self._owner, ref.key, ctx)  # noqa: E731
        return self._bounded(host, work, ref.key, "asking the agent of", ctx, effect=False)

    def guest_exec(self, ref: ResourceRef, argv: Sequence[str], ctx: CallContext, *, stdin: bytes = b"") -> GuestResult:
        """Run a program in the guest and wait for it."""
        host = self._holder(ref, ctx, VimCapability.GUEST_ACCESS)
        work = lambda: guest.execute(host.link, self._owner, ref.key, argv, ctx, stdin=stdin)  # noqa: E731
        # Not repeated on a lost connection: a command in a guest is not idempotent.
        return self._bounded(host, work, ref.key, "running a command in", ctx, effect=True, once=True)

    def await_events(self, after: int, ctx: CallContext) -> int:
        """Wait for more than ``after`` lifecycle events of domains on these hosts; how many there were by then."""
        with self._news:
            self._news.wait_for(lambda: self._heard > after, max(0.0, ctx.remaining_s()))
            return self._heard

    def _hear(self) -> None:
        with self._news:
            self._heard += 1
            self._news.notify_all()

    # ---- how ----

    def _host(self, name: str, key: str) -> HostView:
        host = self._hosts.get(name)
        if host is None and not name and len(self._hosts) == 1:
            host = next(iter(self._hosts.values()))
        if host is None:
            raise NotFound(
                f"{key}: VIM {self._name} has no host {name!r}", hint=f"its hosts: {', '.join(sorted(self._hosts))}"
            )
        return host

    def _holder(self, ref: ResourceRef, ctx: CallContext, capability: VimCapability) -> HostView:
        """The host that has the node. Raises NotFound, or what a host refuses where no other one has it."""
        hosts = [self._host(ref.host, ref.key)] if ref.host else list(self._hosts.values())

        def look(host: HostView) -> bool:
            def work() -> bool:
                self._need_qemu(host, capability)
                return nodes.lookup(host.link, self._owner, ref.key) is not None

            return host.link.run(work, key=ref.key, doing="looking for", effect=False)

        self._must_be_open(f"looking for {ref.key}")
        # A host that is away is asked last, and holds up nobody whose machine is on another one.
        refused: DriverError | None = None
        silent: DriverError | None = None
        calls: list[Future[bool]] = []
        try:
            for some in ([host for host in hosts if host.link.is_up], [host for host in hosts if not host.link.is_up]):
                asked = {self._pool.submit(look, host): host for host in some}
                calls += asked
                for call in as_completed(asked, timeout=ctx.remaining_s()):
                    try:
                        if call.result():
                            return asked[call]
                    except (Transient, DeadlineExceeded) as error:
                        silent = error
                    except DriverError as error:
                        refused = error
        except FutureTimeout:
            silent = DeadlineExceeded(f"looking for {ref.key}: not all hosts answered in time", hint="manor doctor")
        finally:
            for call in calls:
                call.cancel()
        if fault := silent or refused:  # who is silent may have it
            raise fault
        raise NotFound(f"node {ref.key} is not on {', '.join(host.name for host in hosts)}", hint="manor vnf list")

    @staticmethod
    def _need_qemu(host: HostView, capability: VimCapability) -> None:
        facts = host.facts()
        if not facts.is_qemu:
            raise Unsupported(f"no {capability} on host {host.name} with {facts.driver}", capability=str(capability))

    def _bounded(
        self,
        host: HostView,
        work: Callable[[], T],
        key: str,
        doing: str,
        ctx: CallContext,
        *,
        effect: bool,
        once: bool = False,
    ) -> T:
        def run() -> T:
            ctx.check(f"{doing} {key}")
            return host.link.run(work, key=key, doing=doing, effect=effect, once=once)

        return self._wait(run, f"{doing} {key} on host {host.name}", ctx)

    def _must_be_open(self, doing: str) -> None:
        if self._closed.is_set():
            raise Permanent(f"{doing}: VIM {self._name} was closed")

    def _wait(self, work: Callable[[], T], doing: str, ctx: CallContext) -> T:
        self._must_be_open(doing)
        future = self._pool.submit(work)
        try:
            return future.result(timeout=ctx.remaining_s())
        except FutureTimeout:
            if future.done() and not future.cancelled():
                return future.result()  # it ended in the same moment, or raised a TimeoutError of its own
            future.cancel()
            raise DeadlineExceeded(f"{doing}: not done in time", hint="observe; is the hypervisor stuck?") from None

    def _on_all(
        self, hosts: list[HostView], work: Callable[[HostView], T], ctx: CallContext
    ) -> dict[str, T | Transient | DeadlineExceeded]:
        """Ask all hosts at once; what each says, by name, or why it does not answer. Raises what any refuses."""
        calls: list[Any] = [self._pool.submit(work, host) for host in hosts]

        def answer(call: Any, host: HostView) -> T | Transient | DeadlineExceeded:
            try:
                return cast(T, self._wait_for(call, ctx, host.name))
            except (Transient, DeadlineExceeded) as error:
                return error

        return {host.name: answer(call, host) for call, host in zip(calls, hosts, strict=True)}

    def _wait_for(self, call: Any, ctx: CallContext, host: str) -> Any:
        try:
            return call.result(timeout=ctx.remaining_s())
        except FutureTimeout:
            raise DeadlineExceeded(f"host {host} did not answer in time", hint="manor doctor") from None
