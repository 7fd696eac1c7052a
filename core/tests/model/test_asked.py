"""What is written down of what was asked."""

from typing import Any

from manor.api import NodeSpec, OperationKind, Plan, Port, Step, Verb, spec_to_json
from manor.model.asked import Asked, asked
from manor.model.instance import NsInstance, VnfInstance
from manor.model.vnfoperation import VnfOperation


def machine(name: str, *links: str) -> dict[str, Any]:
    ports = tuple(
        Port(key=f"s/cp/{link}", name=link, network=f"s/vl/{link}@h", device=f"{name}-{link}", mac="02:00:00:00:00:01")
        for link in links
    )
    return spec_to_json(
        NodeSpec(key=f"s/vnf/x/{name}", owner="o", host="h", name=name, vcpus=1, memory_bytes=1 << 20, ports=ports)
    )


def step(name: str, verb: Verb, spec: dict[str, Any], before: dict[str, Any] | None) -> Step:
    return Step(
        id=f"{verb} {name}", verb=verb, kind="node", key=spec["key"], endpoint="vim:lab", spec=spec, before=before
    )


def test_a_machine_that_is_only_looked_at_was_not_asked_to_change_its_links() -> None:
    steps = (
        step("a", Verb.ENSURE, machine("a", "mgmt", "new"), machine("a", "mgmt", "old")),
        step("b", Verb.VERIFY, machine("b", "mgmt", "side"), None),
    )
    vnf = VnfInstance(
        id="s/vnf/x", name="x", ns_id="s", profile_id="x", index=1, vnfd_id="x", flavour_id="f", vnfm="generic"
    )
    said = asked(
        Asked(
            plan=Plan(operation=OperationKind.UPDATE, service_id="s", service_name="demo", steps=steps),
            ns=NsInstance(id="s", name="demo", nsd_id="n", nsd_package="p", flavour_id=""),
            wishes={},
            earlier={},
            before={"x": vnf},
            after={"x": vnf},
            vnfs={"x": VnfOperation.CHANGE_EXT_CONN},
        )
    )
    links = said["vnfs"]["x"]["operationParams"]["extVirtualLinks"]
    assert links == [{"id": "s/vl/new", "extCps": [{"cpdId": "new"}]}]
