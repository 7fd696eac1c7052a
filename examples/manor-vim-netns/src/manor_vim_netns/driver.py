"""The five verbs. Each docstring states the contract that ``tests/test_conformance.py`` holds it to."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from typing import Any

from manor.api import (
    CallContext,
    Capabilities,
    DriverEnvironment,
    GuestResult,
    Host,
    ImageSpec,
    NetworkSpec,
    NodeSpec,
    Observed,
    Phase,
    PowerState,
    Query,
    ResourceKind,
    ResourceRef,
    ResourceSpec,
    Support,
    VolumeSpec,
    spec_hash,
    spec_to_json,
)
from manor.errors import Conflict, NotFound, Permanent, QuotaExceeded, Transient, Unsupported

from manor_vim_netns.config import NetnsConfig
from manor_vim_netns.images import Images
from manor_vim_netns.nodes import Nodes, init_pids
from manor_vim_netns.platform import Native, Platform
from manor_vim_netns.programs import tried
from manor_vim_netns.switch import Bridge
from manor_vim_netns.wishes import FULL, MISSING, refuse

__all__ = ["NetnsVim"]

_IN_PLACE = {ResourceKind.NODE: {"power", "labels"}}
"""Fields that can change without making the resource anew, by kind."""


class NetnsVim:
    """A connection to one endpoint. Verbs may be called from several threads at once."""

    def __init__(self, config: NetnsConfig, environment: DriverEnvironment) -> None:
        self._config = config
        self._owner = environment.owner
        self._platform = Platform(environment.state_dir / "notes")
        self._bridge = Bridge(config.ovsdb, config.bridge)
        self._nodes = Nodes(environment.state_dir / "nodes", self._bridge)
        self._images = Images(environment.state_dir / "images")

    def capabilities(self, ctx: CallContext) -> Capabilities:
        """What can be had here and how much is free. Never mutates.

        Claim FULL only what works: the kit then tests it. UNSUPPORTED needs a reason. A host that does not answer is no
        error: ``Host(reachable=False, reason=…)``.
        """
        ctx.check("capabilities")
        nodes = [native.spec for native in self._platform.read() if native.kind == "node" and native.running]
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        host = Host(
            name=self._config.host,
            accelerator="namespaces",
            vcpus=os.cpu_count() or 1,
            vcpus_used=sum(spec["vcpus"] for spec in nodes),
            memory_bytes=pages,
            memory_free_bytes=self._free_bytes(),
        )
        return Capabilities(
            support={str(c): Support.FULL for c in FULL} | {str(c): Support.UNSUPPORTED for c in MISSING},
            detail={str(c): why for c, why in MISSING.items()},
            hosts=(host,),
        )

    def observe(self, query: Query, ctx: CallContext) -> Sequence[Observed]:
        """All resources of ``query.owner`` that the query admits, as they really are now.

        Never mutates, never repairs, never shows another owner's. What is absent is not in the answer. Transient
        where the platform does not answer: core then knows nothing, and not that nothing is there.
        """
        ctx.check("observe")
        asked = [n for n in self._platform.read() if n.owner == query.owner and query.admits(_ref(n))]
        return self._observed(asked, ctx)

    def ensure(self, spec: ResourceSpec, ctx: CallContext) -> Observed:
        """Make the resource exist as specified, and return it observed. Idempotent by key.

        Twice is once, from many threads too. A change is made in place, or refused with Conflict(replace=True,
        fields=…) and nothing changed. NotFound where something that it stands on is missing, QuotaExceeded where
        there is no room, Unsupported before any effect. ``ctx.check`` before each effect. Messages name the key.
        """
        if not isinstance(spec, ImageSpec | NetworkSpec | VolumeSpec | NodeSpec):
            raise Unsupported(f"a VIM has no {spec.kind}s ({spec.key})", capability=str(spec.kind))
        if spec.owner != self._owner:
            raise Permanent(f"{spec.kind} {spec.key} is of {spec.owner}, this connection of {self._owner}")
        if spec.host != self._config.host:
            raise Permanent(f"{spec.kind} {spec.key}: there is no host {spec.host} here", hint="manor vim check")
        refuse(spec)
        ctx.check(f"{spec.kind} {spec.key}")
        with self._platform.alone():
            there = self._find(spec.kind, spec.key)
            if there is not None:
                self._refuse_change(there, spec)
            self._needs(spec, there)
            ctx.check(f"{spec.kind} {spec.key}")
            native = Native(
                native_id=self._platform.native_id(spec.owner, spec.kind, spec.key),
                owner=spec.owner,
                key=spec.key,
                kind=str(spec.kind),
                spec=_json(spec),
                spec_hash=spec_hash(spec),
                running=not (isinstance(spec, NodeSpec) and spec.power is PowerState.STOPPED),
            )
            self._make(native, there, spec, ctx)
        return self._observed([native], ctx)[0]

    def remove(self, ref: ResourceRef, ctx: CallContext) -> None:
        """Make the resource not exist, with all that was made for it. Absent is success; another owner's is absent.

        Without ``ref.host`` it is looked for on all hosts.
        """
        ctx.check(f"removing {ref.kind} {ref.key}")
        with self._platform.alone():
            native = self._find(ref.kind, ref.key)
            if native is not None:
                self._unmake(native, ctx)
                self._platform.delete(native)
            if ref.kind is ResourceKind.NETWORK and not self._networks():
                self._bridge.remove(self._owner, ctx)

    def close(self) -> None:
        """Let go of connections and threads. Resources stay."""

    def guest_ping(self, ref: ResourceRef, ctx: CallContext) -> bool:
        """True once the boot script has ended well."""
        return self._inside(ref, ["test", "-e", "/run/manor/ready"], ctx).returncode == 0

    def guest_exec(self, ref: ResourceRef, argv: Sequence[str], ctx: CallContext, *, stdin: bytes = b"") -> GuestResult:
        """Run a program in the node's namespaces and wait for it. Raises Transient while the node does not run."""
        done = self._inside(ref, argv, ctx, stdin=stdin)
        return GuestResult(exit_code=done.returncode, stdout=done.stdout, stderr=done.stderr)

    # beneath the verbs

    def _make(self, native: Native, there: Native | None, spec: ResourceSpec, ctx: CallContext) -> None:
        """The note first, then the thing: a crash in between is seen, and mended by the next ensure."""
        if native != there:
            self._platform.write(native)
        try:
            match spec:
                case ImageSpec():
                    self._images.ensure(native.native_id, spec, ctx)
                case NetworkSpec():
                    self._bridge.ensure(spec.owner, ctx)
                case NodeSpec() if spec.power is PowerState.STOPPED:
                    self._nodes.stop(native.native_id, _devices(native), f"node {spec.key}", ctx)
                case NodeSpec() if native.native_id not in init_pids([native.native_id]):
                    self._nodes.start(native.native_id, native.spec, self._lower(spec, ctx), ctx)
        except (NotFound, Permanent):
            if there is None:
                self._unmake(native, ctx)
                self._platform.delete(native)
            raise

    def _unmake(self, native: Native, ctx: CallContext) -> None:
        if native.kind == ResourceKind.NODE:
            self._nodes.stop(native.native_id, _devices(native), f"node {native.key}", ctx)
            self._nodes.forget(native.native_id)
        elif native.kind == ResourceKind.IMAGE:
            self._images.remove(native.native_id)

    def _lower(self, spec: NodeSpec, ctx: CallContext) -> str:
        """What the node's root lies over: its initramfs, else this host's own files. The kernel is the host's."""
        image = self._find(ResourceKind.IMAGE, spec.boot.initramfs) if spec.boot.initramfs else None
        return str(self._images.root(image.native_id, ctx)) if image else "/"

    def _networks(self) -> list[Native]:
        return [n for n in self._platform.read() if n.kind == "network" and n.owner == self._owner]

    def _inside(
        self, ref: ResourceRef, argv: Sequence[str], ctx: CallContext, *, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        native = self._find(ref.kind, ref.key)
        if native is None:
            raise NotFound(f"{ref.kind} {ref.key} is not there")
        pid = init_pids([native.native_id]).get(native.native_id)
        if pid is None:
            raise Transient(f"node {ref.key} does not run", retry_after_s=0.5)
        spaces = ["--mount", "--net", "--pid", "--uts", "--ipc", "--root", "--wd"]
        return tried(["nsenter", "--target", str(pid), *spaces, "--", *argv], ctx, stdin=stdin)

    def _find(self, kind: str, key: str) -> Native | None:
        wanted = (self._owner, str(kind), key)
        return next((n for n in self._platform.read() if (n.owner, n.kind, n.key) == wanted), None)

    def _refuse_change(self, there: Native, spec: ResourceSpec) -> None:
        wanted = _json(spec)
        fixed = _IN_PLACE.get(spec.kind, set()) | {"source"}
        fields = tuple(name for name in wanted if wanted[name] != there.spec.get(name) and name not in fixed)
        if fields:
            raise Conflict(f"{spec.kind} {spec.key} cannot change {', '.join(fields)} in place", fields=fields)

    def _needs(self, spec: ResourceSpec, there: Native | None) -> None:
        keys: list[tuple[ResourceKind, str]] = []
        if isinstance(spec, NodeSpec):
            keys += [(ResourceKind.NETWORK, port.network) for port in spec.ports]
            keys += [(ResourceKind.VOLUME, disk.volume) for disk in spec.disks]
            keys += [(ResourceKind.IMAGE, key) for key in (spec.boot.kernel, spec.boot.initramfs) if key]
            if there is None and spec.memory_bytes > self._free_bytes():
                raise QuotaExceeded(f"node {spec.key}: host {spec.host} has no {spec.memory_bytes >> 20} MiB free")
        if isinstance(spec, VolumeSpec) and spec.image:
            keys.append((ResourceKind.IMAGE, spec.image))
        for kind, key in keys:
            if self._find(kind, key) is None:
                raise NotFound(f"{spec.kind} {spec.key}: {kind} {key} is not there", hint="ensure it first")

    def _free_bytes(self) -> int:
        nodes = [native.spec for native in self._platform.read() if native.kind == "node"]
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        promised = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") - sum(n["memory_bytes"] for n in nodes)
        return max(0, min(free, promised))

    def _observed(self, natives: Sequence[Native], ctx: CallContext) -> list[Observed]:
        running = init_pids([native.native_id for native in natives if native.kind == "node"])
        bridged = any(native.kind == "network" for native in natives) and self._bridge.exists(ctx)
        phases = {
            ResourceKind.NODE: lambda native: Phase.ACTIVE if native.native_id in running else Phase.STOPPED,
            ResourceKind.NETWORK: lambda native: Phase.ACTIVE if bridged else Phase.DEGRADED,
            ResourceKind.IMAGE: lambda n: Phase.ACTIVE if self._images.path(n.native_id).exists() else Phase.ERROR,
        }
        return [
            Observed(
                ref=_ref(native),
                owner=native.owner,
                native_id=native.native_id,
                phase=phases[ResourceKind(native.kind)](native),
                spec_hash=native.spec_hash,
                addresses=tuple(a for port in native.spec.get("ports", ()) for a in port["addresses"]),
                detail={"pid": running[native.native_id]} if native.native_id in running else {},
            )
            for native in natives
        ]


def _devices(native: Native) -> list[str]:
    return [port["device"] for port in native.spec["ports"]]


def _ref(native: Native) -> ResourceRef:
    return ResourceRef(kind=ResourceKind(native.kind), key=native.key, host=native.spec["host"])


def _json(spec: ResourceSpec) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(json.dumps(spec_to_json(spec)))
    return values
