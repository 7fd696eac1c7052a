"""Random verbs against a dictionary: whatever is done, ``observe`` tells exactly what ought to be there.

For drivers that are quick (the fakes, libvirt's ``test:///default``). Use it as
``TestRandomVerbs = vim_machine(connect)``, where ``connect(directory)`` gives a fresh driver and its specs.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from manor.api import (
    CallContext,
    NetworkSpec,
    NodeSpec,
    Phase,
    PowerState,
    ResourceKind,
    ResourceSpec,
    Vim,
    spec_hash,
)
from manor.errors import Conflict, DriverError
from manor.testing.vim_specs import VimSpecs, ref_of

__all__ = ["vim_machine"]

_NAMES = st.sampled_from(["a", "b", "c"])


def vim_machine(connect: Callable[[Path], tuple[Vim, VimSpecs]], *, examples: int = 30, steps: int = 30) -> type[Any]:
    """A unittest case that runs random verbs on networks, volumes and nodes against what ``connect`` gives."""

    class VimMachine(RuleBasedStateMachine):
        """``model`` holds what ought to be there: the spec by kind and key."""

        def __init__(self) -> None:
            super().__init__()
            self.directory = tempfile.TemporaryDirectory(prefix="manor-kit-")
            self.vim, self.specs = connect(Path(self.directory.name))
            self.model: dict[tuple[ResourceKind, str], ResourceSpec] = {}

        def teardown(self) -> None:
            for kind in (ResourceKind.NODE, ResourceKind.VOLUME, ResourceKind.NETWORK):
                for spec in [spec for (k, _), spec in self.model.items() if k is kind]:
                    self.vim.remove(ref_of(spec), self.ctx())
            assert not self.vim.observe(self.specs.everything(), self.ctx())
            self.vim.close()
            self.directory.cleanup()

        def ctx(self) -> CallContext:
            return CallContext.within(self.specs.deadline_s)

        def networks(self) -> list[NetworkSpec]:
            return [spec for spec in self.model.values() if isinstance(spec, NetworkSpec)]

        def nodes(self) -> list[NodeSpec]:
            return [spec for spec in self.model.values() if isinstance(spec, NodeSpec)]

        def ensure(self, spec: ResourceSpec) -> None:
            """Ensure, and if the driver refuses a change, check that it changed nothing."""
            observed = None
            try:
                observed = self.vim.ensure(spec, self.ctx())
            except Conflict:
                assert (spec.kind, spec.key) in self.model, "Conflict about something that is not there"
                return
            assert observed.spec_hash == spec_hash(spec)
            self.model[spec.kind, spec.key] = spec

        @rule(name=_NAMES, mtu=st.sampled_from([1400, 1500]))
        def ensure_network(self, name: str, mtu: int) -> None:
            self.ensure(dataclasses.replace(self.specs.network(name), mtu=mtu))

        @rule(name=_NAMES, factor=st.integers(1, 3))
        def ensure_volume(self, name: str, factor: int) -> None:
            volume = self.specs.volume(name)
            self.ensure(dataclasses.replace(volume, size_bytes=volume.size_bytes * factor))

        @precondition(lambda self: self.networks())
        @rule(name=_NAMES, data=st.data())
        def ensure_new_node(self, name: str, data: st.DataObject) -> None:
            if (ResourceKind.NODE, self.specs.key("vnf", name)) in self.model:
                return
            network = data.draw(st.sampled_from(self.networks()))
            self.ensure(self.specs.node(name, network=network))

        @precondition(lambda self: self.nodes())
        @rule(data=st.data(), power=st.sampled_from(list(PowerState)), vcpus=st.integers(1, 2))
        def change_node(self, data: st.DataObject, power: PowerState, vcpus: int) -> None:
            node = data.draw(st.sampled_from(self.nodes()))
            self.ensure(dataclasses.replace(node, power=power, vcpus=vcpus))

        @precondition(lambda self: self.model)
        @rule(data=st.data())
        def ensure_again(self, data: st.DataObject) -> None:
            self.ensure(data.draw(st.sampled_from(list(self.model.values()))))

        @precondition(lambda self: self.model)
        @rule(data=st.data())
        def remove(self, data: st.DataObject) -> None:
            spec = data.draw(st.sampled_from(list(self.model.values())))
            if isinstance(spec, NetworkSpec) and any(p.network == spec.key for n in self.nodes() for p in n.ports):
                return
            self.vim.remove(ref_of(spec), self.ctx())
            del self.model[spec.kind, spec.key]

        @rule(name=_NAMES, kind=st.sampled_from(["vnf", "vl", "vol"]))
        def remove_the_absent(self, name: str, kind: str) -> None:
            kinds = {"vnf": ResourceKind.NODE, "vl": ResourceKind.NETWORK, "vol": ResourceKind.VOLUME}
            spec_key = self.specs.key(kind, name)
            if (kinds[kind], spec_key) not in self.model:
                ref = dataclasses.replace(ref_of(self.specs.network(name)), kind=kinds[kind], key=spec_key)
                self.vim.remove(ref, self.ctx())

        @rule(name=_NAMES)
        def node_on_a_missing_network(self, name: str) -> None:
            spec = self.specs.node(f"{name}-lost", network=self.specs.network("never-made"))
            try:
                self.vim.ensure(spec, self.ctx())
            except DriverError:
                return
            raise AssertionError("a node was made on a network that is not there")

        @invariant()
        def observe_equals_the_model(self) -> None:
            seen = self.vim.observe(self.specs.everything(), self.ctx())
            assert sorted((str(o.ref.kind), o.ref.key, o.spec_hash) for o in seen) == sorted(
                (str(spec.kind), spec.key, spec_hash(spec)) for spec in self.model.values()
            )
            for observed in seen:
                spec = self.model[observed.ref.kind, observed.ref.key]
                stopped = isinstance(spec, NodeSpec) and spec.power is PowerState.STOPPED
                assert (observed.phase is Phase.STOPPED) == stopped, observed

    case: type[Any] = VimMachine.TestCase
    case.settings = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    return case
