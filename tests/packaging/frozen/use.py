"""What today's core asks of the wheel of the past, beside what `manor` itself does with it."""

import dataclasses
import sys
from pathlib import Path

from manor import api
from manor.api import CallContext, DriverEnvironment
from manor.authoring.check import check_plugin, find_subject
from manor.plugin import Plugins, PluginState

HERE = Path(sys.argv[1])
KEY = "1a2b3c4d/vnf/web/vm-0"
plugins = Plugins()
ctx = CallContext.within(300)
environment = DriverEnvironment(name="past", owner="manor/test", state_dir=HERE, runtime_dir=HERE)


def made(hook: str) -> object:
    record = plugins.choose(hook, "frozen").record
    return record.create(record.config())


def states() -> None:
    """Each is found, and `manor plugin check` has nothing against a driver."""
    infos = [info for info in plugins.listing() if info.distribution == "manor-frozen"]
    assert len(infos) == 9
    assert {info.state for info in infos} == {PluginState.READY}, infos
    assert all(answer.ok for name in ("vim-frozen", "sdn-frozen") for answer in check_plugin(find_subject(name)))


def vim() -> None:
    vim = plugins.connect_vim("frozen", {}, environment)
    network = api.NetworkSpec(key="n", owner="manor/test", name="n", host="host-1", segment="")
    node = api.NodeSpec(key=KEY, owner="manor/test", name="web", host="host-1", vcpus=1, memory_bytes=1 << 26)
    for spec in (network, node):
        made = vim.ensure(spec, ctx)
        assert vim.ensure(spec, ctx) == made
        assert made.spec_hash == api.spec_hash(spec)
    assert {one.ref.key for one in vim.observe(api.Query(owner="manor/test"), ctx)} == {"n", KEY}
    for kind, key in (("node", KEY), ("network", "n")):
        vim.remove(api.ResourceRef(kind=api.ResourceKind(kind), key=key), ctx)
    assert vim.capabilities(ctx).hosts
    # What came to the API later is not there, and says so.
    known = set(vim.capabilities(ctx).support)
    assert all(vim.capabilities(ctx).has(c) is api.Support.UNKNOWN for c in api.VimCapability if c not in known)
    vim.close()


def sdn() -> None:
    sdn = plugins.connect_sdn("frozen", {}, environment)
    spec = api.SegmentSpec(key="s", owner="manor/test", name="s", ports=())
    made = sdn.apply(sdn.compile(spec, sdn.topology(ctx)), ctx)
    assert [one.ref.key for one in sdn.observe(api.Query(owner="manor/test"), ctx)] == ["s"]
    assert made.spec_hash == api.spec_hash(spec)
    sdn.remove(made.ref, ctx)
    assert not sdn.observe(api.Query(owner="manor/test"), ctx)
    sdn.close()


class Guest:
    def ping(self, ctx):
        return True

    def run(self, argv, ctx, *, stdin=b""):
        return api.GuestResult(exit_code=0, stdout=b"", stderr=b"")


def vnfm() -> None:
    manager = plugins.connect_vnfm("frozen", {}, environment)
    vnfc = api.VnfcView(key=KEY, name="web", vdu_id="vm", index=0)
    vnf = api.VnfView(
        id="v", name="web", service="s", vnfd_id="d", flavour_id="f", vnfcs=(vnfc,), boot_templates={"vm": "x"},
        day1={"vm": (("true",),)},
    )  # fmt: skip
    assert manager.boot_data(vnf, vnfc).user_data == "x"
    manager.configure(vnf, {KEY: Guest()}, ctx)
    assert manager.health(vnf, {KEY: Guest()}, ctx).ready
    manager.quiesce(vnf, {}, ctx)
    manager.close()


def detector() -> None:
    detector = made("manor_detectors")
    batch = api.SampleBatch(
        names=("cpu",), times_s=tuple(map(float, range(150))), values=[[1.0 + i % 3] for i in range(150)]
    )
    detector.fit(batch)
    other = made("manor_detectors")
    other.load(detector.dump())
    trouble = dataclasses.replace(batch, times_s=(200.0,), values=[[99.0]])
    assert [score.verdict for score in other.score(trouble)] == [api.Verdict.ANOMALY]


def policy() -> None:
    alarm = api.Alarm(
        id="a", managed_object_id="m", resource_key=KEY, perceived_severity=api.PerceivedSeverity.CRITICAL,
        probable_cause="node-down", alarm_raised_time_s=1e9, learned=False,
    )  # fmt: skip
    service = api.ServiceView(id="s", name="shop", nsd_id="n", state="INSTANTIATED", resources=(KEY,))
    decision = made("manor_heal_policies").decide(alarm, service, ())
    assert isinstance(decision.action, api.HealAction)
    assert decision.reason


def telemetry() -> None:
    source = plugins.connect_telemetry("frozen", {"directory": str(HERE)}, environment)
    (HERE / "k").write_text("cpu 20.5 %\n")
    (sample,) = source.collect([api.Target(key="k", kind="node")], ctx)
    assert (sample.metric, sample.value) == ("cpu", 20.5)
    source.close()


def events() -> None:
    plugins.emit_operation_event(
        api.OperationEvent(
            operation_id="o", operation=api.OperationKind.HEAL, service_id="s", state="COMPLETED", time_s=1.0
        )
    )
    assert plugins.close(10)
    assert sys.modules["manor_frozen_more"].HEARD == ["HEAL COMPLETED"]


for use in (states, vim, sdn, vnfm, detector, policy, telemetry, events):
    use()
    print(use.__name__)
