"""Decisions that need no hypervisor: names, seeds, states, settings, room, safety of images."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pycdlib
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from manor.api import CpuPolicy, Firmware, Host, NodeSpec, Phase, Port, Support
from manor.errors import Permanent, Unsupported, UsageError
from manor_vim_libvirt.capacity import combine
from manor_vim_libvirt.config import LibvirtConfig
from manor_vim_libvirt.domain_xml import NodeFiles, Pinning, Target, domain_xml
from manor_vim_libvirt.facts import Facts, nested_by, parse_facts
from manor_vim_libvirt.images import read_qcow2
from manor_vim_libvirt.metadata import parse
from manor_vim_libvirt.metering import read_samples
from manor_vim_libvirt.names import Sort, StoredName, domain_uuid, native_name, owner_tag
from manor_vim_libvirt.node_state import node_phase
from manor_vim_libvirt.promised import Promise, memory_left, pages_left, promise_of
from manor_vim_libvirt.room import choose_cpus, refuse_impossible
from manor_vim_libvirt.seed import seed_files, seed_image

KEYS = st.from_regex(r"[A-Za-z0-9._/@-]{1,200}", fullmatch=True)


@given(key=KEYS, sort=st.sampled_from(list(Sort)))
def test_a_file_name_says_everything(key: str, sort: Sort) -> None:
    name = StoredName.of(sort, "manor/x", key, "0123456789abcdef")
    assert StoredName.read(str(name)) == name
    assert len(str(name)) <= 240
    assert "/" not in str(name)


@pytest.mark.parametrize("foreign", ["disk.qcow2", "image+short", "other+a+b+c", "", "image"])
def test_foreign_files_are_not_ours(foreign: str) -> None:
    assert StoredName.read(foreign) is None


@pytest.mark.parametrize("key", ["", "a b", "../x\n", "a+b", "x" * 201])
def test_a_key_that_core_never_makes_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="not a resource key"):
        StoredName.of(Sort.VOLUME, "manor/x", key, "0" * 16)


@given(one=KEYS, other=KEYS)
def test_domains_of_two_keys_differ(one: str, other: str) -> None:
    names = {native_name("manor/x", key, domain_uuid("manor/x", key)) for key in (one, other)}
    assert len(names) == len({one, other})


def node(**changes: object) -> NodeSpec:
    fields: dict[str, object] = {
        "key": "s/vnf/a",
        "owner": "manor/x",
        "host": "h",
        "name": "Web_1",
        "vcpus": 2,
        "memory_bytes": 1 << 28,
    }
    return NodeSpec(**{**fields, **changes})  # type: ignore[arg-type]


PORT = Port(key="p", network="n", device="t", mac="52:54:00:00:00:01", addresses=("10.0.0.5/24",), gateway="10.0.0.1")


def test_the_seed_tells_the_guest_who_it_is() -> None:
    spec = node(ports=(PORT, Port(key="q", network="n", device="u", mac="52:54:00:00:00:02")), user_data="#!/bin/sh\n")
    iso = pycdlib.PyCdlib()
    iso.open_fp(io.BytesIO(seed_image(seed_files(spec))))
    found = {}
    for name in ("meta-data", "user-data", "network-config"):
        out = io.BytesIO()
        iso.get_file_from_iso_fp(out, rr_path=f"/{name}")
        found[name] = out.getvalue().decode()
    assert iso.pvd.volume_identifier.strip() == b"cidata"
    iso.close()
    assert yaml.safe_load(found["meta-data"])["local-hostname"] == "web-1"
    assert found["user-data"] == "#!/bin/sh\n"
    ethernets = yaml.safe_load(found["network-config"])["ethernets"]
    assert ethernets["port0"]["match"]["macaddress"] == PORT.mac
    assert ethernets["port0"]["addresses"] == ["10.0.0.5/24"]
    assert ethernets["port0"]["routes"] == [{"to": "0.0.0.0/0", "via": "10.0.0.1"}]
    assert ethernets["port1"]["dhcp4"] is True


def test_network_config_has_one_key_a_line_in_a_fixed_order() -> None:
    lines = seed_files(node(ports=(PORT,)))["network-config"].splitlines()
    assert [line.strip().split(" ")[0] for line in lines if "addr" in line or "mtu" in line or "via" in line] == [
        "macaddress:",
        "mtu:",
        "addresses:",
        "via:",
    ]


@pytest.mark.parametrize(
    ("state", "reason", "wanted", "phase"),
    [
        (1, 1, "started", Phase.ACTIVE),
        (1, 1, "stopped", Phase.DEGRADED),
        (3, 5, "started", Phase.ERROR),
        (3, 1, "started", Phase.DEGRADED),
        (5, 0, "started", Phase.PENDING),
        (5, 1, "started", Phase.STOPPED),
        (5, 2, "started", Phase.STOPPED),
        (5, 3, "started", Phase.ERROR),
        (5, 6, "started", Phase.ERROR),
        (5, 2, "stopped", Phase.STOPPED),
        (6, 0, "started", Phase.ERROR),
        (42, 0, "started", Phase.UNKNOWN),
    ],
)
def test_states(state: int, reason: int, wanted: str, phase: Phase) -> None:
    found, why = node_phase(state, reason, wanted=wanted)
    assert found is phase
    assert bool(why) == (phase is not Phase.ACTIVE and not (phase is Phase.STOPPED and wanted == "stopped"))


# settings


def test_one_host_by_its_uri() -> None:
    config = LibvirtConfig.model_validate({"uri": "qemu+ssh://root@node7.example.org/system", "bridge": "br0"})
    assert [(host.name, host.bridge, host.is_local) for host in config.hosts] == [("node7", "br0", False)]
    assert config.hosts[0].switch_database == "", "a remote host's switch is not on this machine"


def test_references_become_parameters_of_the_uri(tmp_path: Path) -> None:
    settings = {"uri": "qemu+ssh://root@h/system?socket=/x", "key_file": str(tmp_path / "id")}
    uri = LibvirtConfig.model_validate(settings).hosts[0].connect_uri
    assert uri == f"qemu+ssh://root@h/system?socket=/x&keyfile={tmp_path}/id&no_tty=1"
    assert LibvirtConfig.model_validate({"uri": "qemu:///system"}).hosts[0].connect_uri == "qemu:///system"


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"uri": "qemu+tcp://u:p@h/system"}, "password_file"),
        ({}, "at least one host"),
        ({"hosts": [{"name": "a", "uri": "qemu:///system"}] * 2}, "must differ: a"),
        ({"uri": "qemu:///system", "hosts": []}, "either hosts or uri"),
        ({"uri": "qemu:///system", "bridge": "-x; rm"}, "bridge"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        LibvirtConfig.model_validate(settings)


def test_a_password_file_open_to_others_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("hunter2\n")
    file.chmod(0o644)
    host = LibvirtConfig.model_validate({"uri": "qemu:///system", "username": "u", "password_file": file}).hosts[0]
    with pytest.raises(UsageError, match="open to others") as caught:
        host.password()
    assert "hunter2" not in str(caught.value)
    file.chmod(0o600)
    assert host.password() == "hunter2"


# images


def qcow2(*, backing: int = 0, incompatible: int = 0, size: int = 1 << 30) -> io.BytesIO:
    header = b"QFI\xfb" + struct.pack(">IQIIQ", 3, backing, 0, 16, size) + b"\0" * 40
    return io.BytesIO(header + struct.pack(">Q", incompatible) + b"\0" * 100)


def test_virtual_size_of_a_sound_image() -> None:
    assert read_qcow2(qcow2(size=5 << 30), "k") == 5 << 30


@pytest.mark.parametrize("file", [qcow2(backing=512), qcow2(incompatible=4), io.BytesIO(b"MZ"), io.BytesIO()])
def test_images_that_reach_into_the_host_are_refused(file: io.BytesIO) -> None:
    with pytest.raises(Permanent):
        read_qcow2(file, "image/x")


# room


def test_cpus_come_from_one_numa_node_where_they_can() -> None:
    numa = {0: (0, 1, 2, 3), 1: (4, 5, 6, 7)}
    assert choose_cpus(2, numa, {0, 1, 2}) == (4, 5)
    assert choose_cpus(1, numa, {0, 1, 2}) == (3,), "the fuller node first, so that a large one still fits"
    assert choose_cpus(5, numa, {0}) == (1, 2, 3, 4, 5)
    assert choose_cpus(8, numa, {0}) == ()


QEMU = Facts(driver="QEMU", cpus=(0, 1), numa={0: (0, 1)})


@pytest.mark.parametrize(
    ("spec", "capability"),
    [
        (node(firmware=Firmware.UEFI), "uefi"),
        (node(vcpus=3, cpu=CpuPolicy(dedicated=True)), "cpu-pinning"),
        (node(cpu=CpuPolicy(hugepage_bytes=2 << 20)), "hugepages"),
        (node(cpu=CpuPolicy(numa_nodes=2)), "numa"),
        (node(cpu=CpuPolicy(architecture="aarch64")), "node"),
        (node(cpu=CpuPolicy(nested=True)), "nested-virtualization"),
        (node(ports=(Port(key="p", network="n", device="d", mac="", vnic_type="direct"),)), "sr-iov"),
    ],
)
def test_what_a_host_cannot_is_refused_by_name(spec: NodeSpec, capability: str) -> None:
    with pytest.raises(Unsupported) as caught:
        refuse_impossible(spec, QEMU, "h")
    assert caught.value.capability == capability
    assert spec.key in str(caught.value)


def test_facts_are_read_from_capabilities() -> None:
    facts = parse_facts(
        """<capabilities><host><cpu><arch>x86_64</arch><model>EPYC</model><microcode version='7'/></cpu>
        <topology><cells num='2'>
          <cell id='0'><pages unit='KiB' size='4'>99</pages><pages unit='KiB' size='2048'>8</pages>
            <cpus><cpu id='0'/><cpu id='2'/></cpus></cell>
          <cell id='1'><pages unit='KiB' size='2048'>0</pages><cpus><cpu id='1'/></cpus></cell>
        </cells></topology></host>
        <guest><os_type>hvm</os_type><arch name='x86_64'><domain type='qemu'/><domain type='kvm'/></arch></guest>
        </capabilities>""",
        driver="QEMU",
        versions="h libvirt 9",
    )
    assert facts.cpus == (0, 1, 2)
    assert facts.numa == {0: (0, 2), 1: (1,)}
    assert facts.huge_pages == {2 << 20: 8}
    assert facts.domain_types == {"qemu", "kvm"}
    assert "microcode" not in facts.identity
    assert "7" in facts.identity


def test_whether_guests_can_run_guests_is_in_what_the_host_passes_on() -> None:
    for model, features, feature in (
        ("Cascadelake-Server", {"vmx": "require", "ss": "require"}, "vmx"),
        ("Cascadelake-Server", {"ss": "require"}, ""),
        ("Cascadelake-Server", {"vmx": "disable"}, ""),
        ("EPYC-Genoa", {"vgif": "require", "lbrv": "require", "flushbyasid": "require"}, "svm"),
        ("EPYC-Rome", {"svm": "disable", "vgif": "disable"}, ""),
        ("Opteron_G1", {"svm": "require"}, "svm"),
        ("Opteron_G1", {"aes": "require"}, ""),
    ):
        given = "".join(f"<feature policy='{policy}' name='{name}'/>" for name, policy in features.items())
        mode = f"<mode name='host-model' supported='yes'><model fallback='forbid'>{model}</model>{given}</mode>"
        assert nested_by(parse(f"<domainCapabilities><cpu>{mode}</cpu></domainCapabilities>")) == feature, model
    assert nested_by(parse("<domainCapabilities/>")) == ""


def test_a_machine_of_another_cpu_model_is_given_the_feature() -> None:
    spec = node(cpu=CpuPolicy(nested=True, model="Broadwell"))
    cpu = parse(domain_xml(spec, Target(domain_type="kvm", nested="vmx"), NodeFiles())).find("cpu")
    assert [(f.get("name"), f.get("policy")) for f in cpu.findall("feature")] == [("vmx", "require")]


def test_samples_leave_out_what_is_missing() -> None:
    stats = {"state.state": 1, "cpu.time": 2_500_000_000, "net.count": 1, "net.0.name": "t0", "net.0.rx.bytes": 7}
    found = {sample.metric: sample for sample in read_samples("k", stats, {"host": "h"}, now_s=5.0)}
    assert found["v_cpu_time"].value == 2.5
    assert found["v_net_byte_incoming"].labels == {"host": "h", "device": "t0"}
    assert "v_net_byte_outgoing" not in found
    assert "v_memory_size" not in found


def test_owners_differ() -> None:
    assert owner_tag("manor/a") != owner_tag("manor/b")


GIB = 1 << 30


def promised(
    *, is_on: bool, resident_bytes: int | None = None, is_ours: bool = True, cpu: CpuPolicy | None = None
) -> Promise:
    """Of a machine of four CPUs and eight GiB, the first three CPUs its own where they are dedicated."""
    spec = node(vcpus=4, memory_bytes=8 * GIB, cpu=cpu or CpuPolicy())
    pinning = Pinning(cpus=(0, 1, 2)) if spec.cpu.dedicated else Pinning()
    root = parse(domain_xml(spec, Target(domain_type="kvm"), NodeFiles(), pinning))
    if is_on:
        root.set("id", "7")
    return promise_of(root, resident_bytes=resident_bytes, is_ours=is_ours)


def test_memory_that_was_promised_is_not_free_off_or_on() -> None:
    on, off = promised(is_on=True, resident_bytes=3 * GIB), promised(is_on=False)
    assert memory_left(64 * GIB, 60 * GIB, []) == 60 * GIB
    assert memory_left(64 * GIB, 57 * GIB, [on]) == 52 * GIB, "five are still to come"
    assert memory_left(64 * GIB, 57 * GIB, [on, off]) == 44 * GIB
    assert memory_left(64 * GIB, 57 * GIB, [off] * 9) == 0
    whole = promised(is_on=True, resident_bytes=9 * GIB)
    assert memory_left(64 * GIB, 51 * GIB, [whole]) == 51 * GIB, "what QEMU takes for itself is gone from the free"


def test_where_nobody_tells_what_is_taken_the_sum_of_the_promised_counts() -> None:
    untold = promised(is_on=True)
    assert memory_left(64 * GIB, 56 * GIB, [untold]) == 56 * GIB
    assert memory_left(64 * GIB, 64 * GIB, [untold]) == 56 * GIB


def test_huge_pages_are_not_of_the_free_memory() -> None:
    for is_on in (True, False):
        huge = promised(is_on=is_on, resident_bytes=GIB >> 5, cpu=CpuPolicy(hugepage_bytes=1 << 21))
        assert (huge.memory_bytes, huge.taken_bytes, huge.page_bytes) == (8 * GIB, 8 * GIB * is_on, 2 << 20)
    of_no_size = parse("<domain id='7'><memory>1024</memory><memoryBacking><hugepages/></memoryBacking></domain>")
    assert promise_of(of_no_size, resident_bytes=0, is_ours=False).page_bytes, "of the host's own size: huge anyway"


def test_huge_pages_that_were_promised_are_not_free_off_or_on() -> None:
    facts = parse_facts((Path(__file__).parent / "recorded" / "capabilities-hugepages.xml").read_text(), driver="QEMU")
    assert facts.huge_pages == {2 << 20: 6144, GIB: 8}
    on, off = (promised(is_on=on, resident_bytes=0, cpu=CpuPolicy(hugepage_bytes=2 << 20)) for on in (True, False))
    all_free, on_runs = {2 << 20: 6144, GIB: 8}, {2 << 20: 2048, GIB: 8}
    assert pages_left(facts.huge_pages, all_free, []) == {2 << 20: 12 * GIB, GIB: 8 * GIB}
    assert pages_left(facts.huge_pages, all_free, [off]) == {2 << 20: 4 * GIB, GIB: 8 * GIB}
    assert pages_left(facts.huge_pages, on_runs, [on]) == {2 << 20: 4 * GIB, GIB: 8 * GIB}
    assert pages_left(facts.huge_pages, {2 << 20: 1024}, [on]) == {2 << 20: 2 * GIB, GIB: 0}, "a stranger has the rest"


def test_machines_of_others_count_while_they_run_and_the_cpus_that_they_name_always() -> None:
    dedicated = CpuPolicy(dedicated=True)
    foreign = promised(is_on=False, is_ours=False, cpu=dedicated)
    assert foreign == Promise(vcpus=3, cpus=frozenset({0, 1, 2}))
    assert promised(is_on=False, is_ours=False) == Promise()
    assert promised(is_on=True, is_ours=False, resident_bytes=0).memory_bytes == 8 * GIB
    assert (promised(is_on=False, cpu=dedicated).vcpus, promised(is_on=False, cpu=dedicated).cpus) == (4, foreign.cpus)


def test_what_one_host_has_its_vim_has_and_who_lacks_it_is_told() -> None:
    able, without = Host(name="a"), Host(name="b", lacks={"uefi": "no firmware"})
    away = Host(name="c", reachable=False)
    told = combine([able, without, away])
    assert (told.has("uefi"), told.detail["uefi"]) == (Support.FULL, "not on b: no firmware")
    assert (told.has("numa"), "numa" in told.detail) == (Support.FULL, False)
    alone = combine([without, away])
    assert (alone.has("uefi"), alone.detail["uefi"]) == (Support.UNSUPPORTED, "no firmware")
    assert combine([away]).has("uefi") is Support.UNKNOWN
