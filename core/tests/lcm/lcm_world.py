"""A small service on the fakes, an executor for it, and an engine that only notes: the lifecycle tests' stage."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manor.api import (
    CallContext,
    ChainElement,
    ChainPosition,
    ChainSpec,
    Classifier,
    Disk,
    DiskFormat,
    ImageSpec,
    NetworkSpec,
    NodeSpec,
    Observed,
    OperationKind,
    Phase,
    Plan,
    Port,
    Query,
    ResourceKind,
    ResourceRef,
    SdnPort,
    SegmentSpec,
    Step,
    Subnet,
    Verb,
    VolumeSpec,
    spec_from_json,
)
from manor.errors import Transient
from manor.fakes import FakeSdn, FakeVim, World
from manor.lcm.apply import Apply
from manor.lcm.diff import diff
from manor.lcm.journal import Journal
from manor.lcm.operations import Operations
from manor.lcm.target import Target
from manor.model.desired import DesiredCheck, DesiredResource, DesiredState
from manor.model.instance import NsInstance, NsLcmOpOcc, NsState
from manor.store import instances, operations
from manor.store.database import Database

OWNER = "manor/test"
HOST = "host-1"
SID = "0a0b0c0d"


def service(sid: str = SID, *, nodes: int = 1, chain: bool = False, memory: int = 1 << 20) -> DesiredState:
    """A service of so many machines on one link, each with a disk, proven healthy; optionally with a chain."""
    link, network, image = f"{sid}/vl/lan", f"{sid}/vl/lan@{HOST}", f"image/abc@{HOST}"
    ports = tuple(
        SdnPort(key=f"{sid}/vnf/v{n}/main-0/eth0", host=HOST, device=f"m{sid}-{n}", mac=f"02:00:00:00:00:{n:02x}")
        for n in range(nodes)
    )
    resources = [
        DesiredResource(
            spec=ImageSpec(
                key=image,
                owner=OWNER,
                host=HOST,
                name="img",
                sha256="abc",
                size_bytes=1,
                format=DiskFormat.QCOW2,
                source="/img",
            ),
            endpoint="vim:lab",
            shared=True,
        ),
        DesiredResource(
            spec=NetworkSpec(
                key=network,
                owner=OWNER,
                host=HOST,
                name="lan",
                segment=link,
                subnets=(Subnet(cidr="10.0.0.0/24"),),
            ),
            endpoint="vim:lab",
        ),
        DesiredResource(
            spec=SegmentSpec(key=link, owner=OWNER, name="lan", ports=ports),
            endpoint="sdn:net",
            depends_on=(network,),
        ),
    ]
    checks = []
    for n, port in enumerate(ports):
        vnf = f"{sid}/vnf/v{n}"
        node, volume = f"{vnf}/main-0", f"{vnf}/main-0/disk"
        resources += [
            DesiredResource(
                spec=VolumeSpec(key=volume, owner=OWNER, host=HOST, name="disk", size_bytes=1 << 20, image=image),
                endpoint="vim:lab",
                depends_on=(image,),
            ),
            DesiredResource(
                spec=NodeSpec(
                    key=node,
                    owner=OWNER,
                    host=HOST,
                    name=f"v{n}",
                    vcpus=1,
                    memory_bytes=memory,
                    disks=(Disk(volume=volume, boot_index=1),),
                    ports=(Port(key=port.key, network=network, device=port.device, mac=port.mac),),
                ),
                endpoint="vim:lab",
                depends_on=(image, volume, network, link),
                verify=True,
                why=f"v{n}'s VDU main",
            ),
        ]
        checks.append(
            DesiredCheck(
                key=vnf,
                verb=Verb.VERIFY,
                endpoint="vnfm:generic",
                view={"id": vnf},
                nodes={node: "vim:lab"},
                depends_on=(node,),
            )
        )
    live = f"{link}/live"
    checks.append(
        DesiredCheck(
            key=live,
            verb=Verb.VERIFY,
            kind=ResourceKind.SEGMENT,
            endpoint="sdn:net",
            view={"resource": link},
            depends_on=(link, *(f"{sid}/vnf/v{n}/main-0" for n in range(nodes))),
        )
    )
    if chain:
        element = ChainElement(ingress=ports[1], egress=ports[1])
        spec = ChainSpec(
            key=f"{sid}/chain/p",
            owner=OWNER,
            name="p",
            segment=link,
            classifiers=(Classifier(protocol="tcp"),),
            sources=(ports[0],),
            destinations=(ports[2],),
            positions=(ChainPosition(name="f", elements=(element,)),),
        )
        above = (link, live, *(f"{sid}/vnf/v{n}/main-0" for n in range(nodes)))
        resources.append(DesiredResource(spec=spec, endpoint="sdn:net", depends_on=above, verify=True))
    return DesiredState(service_id=sid, service_name=f"svc-{sid}", resources=tuple(resources), checks=tuple(checks))


def nothing(sid: str = SID) -> DesiredState:
    """What should be there once a service is terminated."""
    return DesiredState(service_id=sid, service_name=f"svc-{sid}")


class FakeExecutor:
    """Carries steps to the fakes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.vim = FakeVim(world, owner=OWNER)
        self.sdn = FakeSdn(world, owner=OWNER, follow_nodes=True)

    def perform(self, step: Step, ctx: CallContext) -> Observed | None:
        driver: Any = self.sdn if step.endpoint.startswith("sdn:") else self.vim
        if step.verb is Verb.ENSURE:
            assert step.spec is not None
            spec = spec_from_json(step.spec)
            if isinstance(spec, SegmentSpec | ChainSpec):
                return self.sdn.apply(self.sdn.compile(spec, self.sdn.topology(ctx)), ctx)
            return self.vim.ensure(spec, ctx)
        if step.verb is Verb.REMOVE:
            driver.remove(ResourceRef(kind=ResourceKind(step.kind), key=step.key, host=step.host), ctx)
            return None
        if step.kind == "vnf":
            for node in (step.spec or {})["nodes"]:
                if not self.vim.guest_ping(ResourceRef(kind=ResourceKind.NODE, key=node), ctx):
                    raise Transient(f"{node} does not answer", retry_after_s=0.01)
            return None
        seen = self.observe(step, ctx)
        if seen is None or seen.phase is not Phase.ACTIVE:
            raise Transient(f"{step.key} is {seen.phase if seen else 'absent'}", retry_after_s=0.01)
        return seen

    def observe(self, step: Step, ctx: CallContext) -> Observed | None:
        driver: Any = self.sdn if step.endpoint.startswith("sdn:") else self.vim
        found = driver.observe(Query(owner=OWNER, keys=frozenset({step.key})), ctx)
        return found[0] if found else None


@dataclass
class InlineEngine:
    """Remembers what was dispatched; the test runs it."""

    queued: list[tuple[str, int]] = field(default_factory=list)

    def prepare(self) -> None:
        """Nothing to make ready."""

    def dispatch(self, _tx: Any, operation_id: str, attempt: int, _partition: str) -> None:
        self.queued.append((operation_id, attempt))


def _hurry(event: threading.Event, seconds: float) -> None:
    event.wait(min(seconds, 0.001))


_TEMPLATE: list[bytes] = []


def _copy_of_template(path: Path) -> None:
    """An empty database costs its tables' creation; thousands of tests share one."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if not _TEMPLATE:
        Database.open(path).close()
        if path.exists():  # else it is no file's: the suite runs on PostgreSQL
            _TEMPLATE.append(path.read_bytes())
    else:
        path.write_bytes(_TEMPLATE[0])


class Stage:
    """One database and one world; processes on it come and go."""

    def __init__(self, path: Path, world: World | None = None, **apply: Any) -> None:
        self.world = world or World()
        self.path = path
        _copy_of_template(path)
        self.database = Database.open(path)
        self.engine = InlineEngine()
        self.operations = Operations(self.database, self.engine)  # type: ignore[arg-type]
        self.options: dict[str, Any] = {"grace_s": 0.2, "poll_s": 0.02, "pause": _hurry, **apply}

    def apply(self, **more: Any) -> Apply:
        """A worker's apply, as a process would have it."""
        executor = more.pop("executor", None) or FakeExecutor(self.world)
        return Apply(journal=Journal(self.database), executor=executor, **{**self.options, **more})

    def create(self, sid: str = SID) -> None:
        """A service that does not run yet."""
        with self.database.begin() as tx:
            instances.add(tx, NsInstance(id=sid, name=f"svc-{sid}", nsd_id="n", nsd_package="p", flavour_id="f"))

    def observed(self) -> dict[str, Observed]:
        """Everything of ours in the world, by key."""
        executor, ctx = FakeExecutor(self.world), CallContext.within(60)
        query = Query(owner=OWNER)
        return {seen.ref.key: seen for driver in (executor.vim, executor.sdn) for seen in driver.observe(query, ctx)}

    def desired(self, sid: str = SID) -> DesiredState | None:
        """What the store says should be there."""
        with self.database.read() as tx:
            return instances.desired(tx, sid)

    def ns(self, sid: str = SID) -> NsInstance:
        """The service as the store has it."""
        with self.database.read() as tx:
            return instances.get(tx, sid)

    def plan(self, wanted: DesiredState, kind: OperationKind) -> Plan:
        """The plan from the world as it is."""
        return diff(wanted, self.observed(), self.desired(wanted.service_id), kind)

    def submit(self, wanted: DesiredState, kind: OperationKind, **options: Any) -> NsLcmOpOcc:
        """Accept the operation that leads to ``wanted``."""
        gone = kind is OperationKind.TERMINATE
        target = Target(
            ns_state=NsState.NOT_INSTANTIATED if gone else NsState.INSTANTIATED, desired=None if gone else wanted
        )
        return self.operations.submit(self.plan(wanted, kind), target, **options)

    def work(self, **more: Any) -> None:
        """Run everything that is at work to where it rests, as a worker that starts now would."""
        with self.database.read() as tx:
            waiting = operations.at_work(tx)
        for operation in waiting:
            self.apply(**more).run(operation.id)

    def run(self, wanted: DesiredState, kind: OperationKind, **options: Any) -> NsLcmOpOcc:
        """Submit and work it off; the operation as it rests."""
        operation = self.submit(wanted, kind, **options)
        self.work()
        return self.operations.get(operation.id)[0]

    def reopen(self) -> None:
        """As a new process finds it."""
        self.database.close()
        self.__init__(self.path, self.world, **self.options)  # type: ignore[misc]

    def close(self) -> None:
        """Let go of the database."""
        self.database.close()

    def there(self) -> set[str]:
        """Keys of all that exists and is not shared."""
        return {native.spec.key for native in self.world.natives(OWNER) if native.spec.kind is not ResourceKind.IMAGE}


def keys_of(state: DesiredState) -> set[str]:
    """Keys of all that should exist and is not shared."""
    return {resource.spec.key for resource in state.resources if not resource.shared}


def join_lanes(timeout_s: float = 60.0) -> None:
    """Wait until no step of a dead run is on its way any more."""
    end = time.monotonic() + timeout_s
    for thread in threading.enumerate():
        if thread.name.startswith("manor "):
            thread.join(max(0.0, end - time.monotonic()))
            assert not thread.is_alive(), f"{thread.name} goes on and on"
