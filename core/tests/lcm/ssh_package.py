"""A service of one machine without a guest agent, whose package configures it by SSH and by a playbook."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

__all__ = ["NETWORK", "write_packages"]

NETWORK = "10.77.0.1/24"
_VNFD, _NSD = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
_ANSIBLE, _BASH = "tosca.artifacts.Implementation.Ansible", "tosca.artifacts.Implementation.Bash"
_PROPERTIES = {
    "descriptor_id": _VNFD,
    "descriptor_version": "1.0",
    "provider": "Test",
    "product_name": "Box",
    "software_version": "1.0",
    "flavour_id": "default",
    "flavour_description": "One machine",
    "vnfm_info": ["generic"],
}


def write_packages(
    place: Path, *, user: str, day1: str = "", scripts: Mapping[str, str], inputs: Mapping[str, Mapping[str, object]]
) -> Path:
    """The folder of its two packages. ``scripts`` are by file name; one called as an event is run then, any other is an
    action."""
    for name, text in scripts.items():
        _write(place / "box/Scripts" / name, text)
    _write(place / "box/Files/disk.raw", "disk" * 128)
    names = {name.partition(".")[0]: name for name in scripts}
    operations = {
        name: {"implementation": name, **({"inputs": dict(inputs[name])} if name in inputs else {})} for name in names
    }
    events = {name: each for name, each in operations.items() if name.endswith(("_start", "_end"))}
    actions = {name: each for name, each in operations.items() if name not in events}
    nodes = {
        "vnf": {
            "type": "test.Box",
            "properties": {"flavour_description": "One machine"},
            "interfaces": {"Vnflcm": {"operations": events}, "Day2": {"operations": actions}},
            "artifacts": {
                name: {"type": _ANSIBLE if file.endswith(".yaml") else _BASH, "file": f"../Scripts/{file}"}
                for name, file in names.items()
            },
        },
        "main": {
            "type": "tosca.nodes.nfv.Vdu.Compute",
            "metadata": {"ssh_user": user, "day1": day1},
            "properties": {
                "name": "main",
                "description": "The machine",
                "vdu_profile": {"min_number_of_instances": 1, "max_number_of_instances": 1},
            },
            "capabilities": {
                "virtual_compute": {
                    "properties": {
                        "virtual_memory": {"virtual_mem_size": "128 MiB"},
                        "virtual_cpu": {"num_virtual_cpu": 1},
                    }
                }
            },
            "artifacts": {
                "disk": {
                    "type": "tosca.artifacts.nfv.SwImage",
                    "file": "../Files/disk.raw",
                    "properties": {
                        "name": "disk",
                        "version": "1.0",
                        "container_format": "bare",
                        "disk_format": "raw",
                        "min_disk": "0 B",
                    },
                }
            },
        },
        "cp": {
            "type": "tosca.nodes.nfv.VduCp",
            "properties": {"layer_protocols": ["ipv4"], "order": 0},
            "requirements": [{"virtual_binding": "main"}],
        },
    }
    defaults = {name: {"type": "string", "default": value} for name, value in _PROPERTIES.items()}
    defaults["vnfm_info"] = {"type": "list", "entry_schema": {"type": "string"}, "default": ["generic"]}
    _pack(
        place / "box",
        {"test.Box": {"derived_from": "tosca.nodes.nfv.VNF", "properties": defaults}},
        {"node_type": "test.Box", "requirements": {"virtual_link": ["cp", "virtual_link"]}},
        nodes,
    )
    lan = {"ip_version": "ipv4", "cidr": NETWORK.replace(".1/", ".0/"), "dhcp_enabled": False}
    _pack(
        place / "ns",
        {
            "test.Ns": {"derived_from": "tosca.nodes.nfv.NS"},
            "test.Box": {"derived_from": "tosca.nodes.nfv.VNF"},
        },
        {"node_type": "test.Ns"},
        {
            "ns": {
                "type": "test.Ns",
                "properties": {
                    "descriptor_id": _NSD,
                    "designer": "Test",
                    "version": "1.0",
                    "name": "boxes",
                    "invariant_id": _NSD,
                    "flavour_id": "default",
                },
            },
            "lan": {
                "type": "tosca.nodes.nfv.NsVirtualLink",
                "properties": {
                    "connectivity_type": {"layer_protocols": ["ipv4"], "flow_pattern": "mesh"},
                    "vl_profile": {
                        "max_bitrate_requirements": {"root": 1000},
                        "min_bitrate_requirements": {"root": 0},
                        "virtual_link_protocol_data": [{"associated_layer_protocol": "ipv4", "l3_protocol_data": lan}],
                    },
                },
            },
            "box": {
                "type": "test.Box",
                "properties": {
                    **_PROPERTIES,
                    "vnf_profile": {"min_number_of_instances": 1, "max_number_of_instances": 1},
                },
                "requirements": [{"virtual_link": "lan"}],
            },
        },
    )
    return place


def _pack(place: Path, types: object, substitution: Mapping[str, object], nodes: object) -> None:
    definitions = {
        "tosca_definitions_version": "tosca_simple_yaml_1_3",
        "node_types": types,
        "topology_template": {
            "substitution_mappings": {**substitution, "properties": {"flavour_id": "default"}},
            "node_templates": nodes,
        },
    }
    _write(place / "Definitions/top.yaml", yaml.safe_dump(definitions))
    meta = {"TOSCA-Meta-File-Version": "1.0", "CSAR-Version": "1.1", "Entry-Definitions": "Definitions/top.yaml"}
    _write(place / "TOSCA-Metadata/TOSCA.meta", "".join(f"{name}: {value}\n" for name, value in meta.items()))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
