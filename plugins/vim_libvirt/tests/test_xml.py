"""Domain, network, pool and volume XML: golden files, and libvirt's own schemas where they are installed.

After a wanted change: ``MANOR_GOLDEN=write pytest plugins/vim_libvirt/tests/test_xml.py``, and read the difference.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest
from lxml import etree

from manor.api import (
    BootSource,
    CpuPolicy,
    Disk,
    Firmware,
    NetworkSpec,
    NodeSpec,
    Port,
    Subnet,
    spec_hash,
)
from manor_vim_libvirt.domain_xml import NodeFiles, Pinning, Target, domain_xml, pinned_cpus, probe_xml
from manor_vim_libvirt.metadata import changed_fields, mark_of, parse, read_mark
from manor_vim_libvirt.objects_xml import network_xml, pool_xml, volume_xml

GOLDEN = Path(__file__).parent / "golden"
SCHEMAS = Path("/usr/share/libvirt/schemas")

PORT = Port(
    key="5f0c/vnf/fw/port-in",
    network="5f0c/vl/lan",
    device="m5f0cfw0",
    mac="52:54:00:12:34:56",
    addresses=("10.0.0.5/24", "2001:db8::5/64"),
    gateway="10.0.0.1",
    name="in",
)
DIRECT = NodeSpec(
    key="5f0c/vnf/fw/vdu-0",
    owner="manor/1234",
    host="h1",
    name="web <firewall> & co",
    vcpus=1,
    memory_bytes=128 << 20,
    boot=BootSource(kernel="image/k@h1", initramfs="image/i@h1", cmdline="console=ttyS0 quiet"),
    ports=(PORT,),
)
FROM_DISK = NodeSpec(
    key="5f0c/vnf/db/vdu-0",
    owner="manor/1234",
    host="h1",
    name="db",
    vcpus=4,
    memory_bytes=2 << 30,
    firmware=Firmware.UEFI,
    disks=(Disk(volume="5f0c/vol/root", boot_index=1), Disk(volume="5f0c/vol/data")),
    ports=(PORT, Port(key="p2", network="n2", device="m5f0cdb1", mac="52:54:00:12:34:57", mtu=9000, queues=4)),
    cpu=CpuPolicy(dedicated=True, hugepage_bytes=2 << 20, numa_nodes=2),
    watchdog=True,
    guest_agent=False,
)

CASES = {
    "direct-boot-tcg": domain_xml(
        DIRECT,
        Target(domain_type="qemu", offload=False),
        NodeFiles(kernel="/p/kernel", initramfs="/p/initramfs", seed="/p/seed", console="/p/console"),
    ),
    "disk-boot-kvm": domain_xml(
        FROM_DISK,
        Target(domain_type="kvm"),
        NodeFiles(disks=("/p/root", "/p/data"), seed="/p/seed", console="/p/console"),
        Pinning(cpus=(2, 6, 3, 7), numa_nodes=(0, 1)),
    ),
    "network": network_xml(
        NetworkSpec(
            key="5f0c/vl/lan",
            owner="manor/1234",
            host="h1",
            name="lan",
            segment="5f0c/vl/lan",
            subnets=(Subnet(cidr="10.0.0.0/24"),),
        ),
        "manor-int",
    ),
    "pool": pool_xml("manor-1234", uuid.UUID(int=7), "/var/lib/libvirt/manor-1234"),
    "volume-overlay": volume_xml("volume+x", 1 << 30, "qcow2", backing="/p/image+x", backing_format="qcow2"),
}
SCHEMA_OF = {"network": "network", "pool": "storagepool", "volume-overlay": "storagevol"}


@pytest.mark.parametrize("name", CASES)
def test_xml_is_as_it_was(name: str) -> None:
    file = GOLDEN / f"{name}.xml"
    if os.environ.get("MANOR_GOLDEN") == "write":
        file.write_text(CASES[name])
    assert CASES[name] == file.read_text()


@pytest.mark.parametrize("name", [*CASES, "trial"])
def test_libvirt_takes_the_xml(name: str) -> None:
    schema = SCHEMAS / f"{SCHEMA_OF.get(name, 'domain')}.rng"
    if not schema.exists():
        pytest.skip("libvirt's schemas are not installed")
    text = CASES.get(name) or probe_xml("kvm", "manor-trial")
    etree.RelaxNG(etree.parse(schema)).assertValid(etree.fromstring(text))


def test_the_mark_comes_back() -> None:
    mark = read_mark(parse(CASES["direct-boot-tcg"]))
    assert mark == mark_of(DIRECT)
    assert mark is not None
    assert (mark.owner, mark.key, mark.spec_hash) == (DIRECT.owner, DIRECT.key, spec_hash(DIRECT))
    assert mark.ports[0]["addresses"] == "10.0.0.5/24 2001:db8::5/64"


def test_user_data_is_not_shown_in_the_xml() -> None:
    import dataclasses

    spec = dataclasses.replace(DIRECT, user_data="password: hunter2")
    text = domain_xml(spec, Target(domain_type="qemu"), NodeFiles(kernel="/k", seed="/s"))
    assert "hunter2" not in text
    assert changed_fields(mark_of(DIRECT), mark_of(spec)) == ("user_data",)


def test_hostile_xml_is_refused_or_harmless() -> None:
    bomb = '<!DOCTYPE d [<!ENTITY a SYSTEM "file:///etc/passwd">]><domain><name>&a;</name></domain>'
    assert "root:" not in (parse(bomb).findtext("name") or "")
    with pytest.raises(ValueError, match="not XML"):
        parse("<domain>")


def test_pinned_cpus_are_read_back() -> None:
    assert pinned_cpus(parse(CASES["disk-boot-kvm"])) == {2, 3, 6, 7}
