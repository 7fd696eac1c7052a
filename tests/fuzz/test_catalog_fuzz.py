"""No input whatsoever gets a traceback out of the catalogue, only findings.

A quick run in the suite; ``MANOR_FUZZ_S=600 pytest tests/fuzz`` goes on for ten minutes and says how far it came.
"""

from __future__ import annotations

import copy
import io
import os
import random
import string
import tarfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manor.catalog.validate import Item, validate
from manor.model.nsd import Nsd
from manor.model.vnfd import Vnfd

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "core" / "tests" / "catalog" / "samples"
SEEDS = sorted(path for path in SAMPLES.rglob("*") if path.suffix in (".yaml", ".json"))
PACKAGE = SAMPLES / "router"
LONG_S = float(os.environ.get("MANOR_FUZZ_S", "0"))
QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)


def well_behaved(path: Path) -> list[Item]:
    """Validate, then prove that what came out can be kept: JSON that a database and a terminal take."""
    import json

    from pydantic import TypeAdapter

    from manor.catalog.onboard import descriptor_json

    items = validate([path])
    for item in items:
        json.dumps(item.to_json()).encode()
        for finding in item.findings:
            f"{finding.file}{finding.message}{finding.hint}".encode()
        descriptor = item.reading.descriptor if item.reading else None
        if descriptor is not None and item.accepted:
            kind = Vnfd if isinstance(descriptor, Vnfd) else Nsd
            data = json.loads(json.dumps(descriptor_json(descriptor), allow_nan=False))
            TypeAdapter(kind).validate_python(data)
    return items


ODD: list[Any] = [
    None,
    [],
    {},
    "",
    "x",
    0,
    -1,
    1 << 70,
    10**400,
    1.5,
    float("inf"),
    float("nan"),
    True,
    [[]],
    [None],
    [{}],
    {"": ""},
    {"get_input": "x"},
    {"get_input": ["x", 0]},
    {"get_property": ["SELF", "name"]},
    {"get_property": ["vnf", "configurable_properties", "x"]},
    {"concat": ["a", {"get_input": "memory"}]},
    {"token": ["a-b", "-", 1]},
    {"token": ["a", "", 9]},
    "⒏",
    "٣",
    "²",
    "1e9999",
    "999999999999999999 TiB",
    "10.0.0.0/99",
    "../" * 50,
    "/etc/passwd",
    "a" * 5000,
    "\x85\u2028",
    "2001-01-01",
    "0x1F",
    "012",
    "1_000",
    "1:30",
    "~",
    "*",
    "tosca.nodes.nfv.VNF",
    "tosca.nodes.nfv.NS",
    "file://etc",
    {"a": {"b": {"c": [1, {"d": None}]}}},
]


TOKENS = [b"&a ", b"*a ", b"<<: ", b"? ", b"- ", b"{", b"[", b"!!python/x ", b"\t", b"|"]
NAMES = ["../out", "/abs", "a/../../b", "C:\\x", "x\\..\\..\\y", "TOSCA-Metadata", ".", "ü/\u202e"]
SMALL = {"vnfd": {"id": "x", "df": [{"id": "d"}]}}
ROOTS = ["vnfd", "nsd", "nfv", "topology_template", "imports", "node_types", "metadata"]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield from places(inner, (*path, key))


def mutate(value: Any, rng: random.Random) -> Any:
    """Delete, replace, duplicate, rename or move a random part of a document."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        where = rng.choice([path for path in places(value) if path] or [()])
        if not where:
            return copy.deepcopy(rng.choice(ODD))
        parent = value
        for key in where[:-1]:
            parent = parent[key]
        key, old = where[-1], parent[where[-1]]
        match rng.randrange(8):
            case 0:
                del parent[key]
            case 1 | 2 | 3:
                parent[key] = copy.deepcopy(rng.choice(ODD))
            case 4:
                parent[key] = [old, old]
            case 5:
                parent[key] = {rng.choice(["x", "id", str(key)]): old}
            case 6 if isinstance(parent, dict):
                parent[rng.choice([f"{key}s", "id", "type", "nfv:" + str(key), rng.choice(string.printable)])] = (
                    parent.pop(key)
                )
            case _:
                other = value
                for step in rng.choice(list(places(value))):
                    other = other[step]
                parent[key] = copy.deepcopy(other)
        if sum(1 for _ in places(value)) > 3000:
            break
    return value


def write(folder: Path, name: str, value: Any) -> Path:
    path = folder / name
    try:
        path.write_text(yaml.safe_dump(value, allow_unicode=True, sort_keys=False))
    except UnicodeEncodeError:
        path.write_bytes(b"")
    return path


def bad_bytes(data: bytes, rng: random.Random) -> bytes:
    broken = bytearray(data)
    for _ in range(rng.randrange(1, 12)):
        at = rng.randrange(len(broken) + 1)
        match rng.randrange(4):
            case 0:
                del broken[at : at + rng.randrange(1, 40)]
            case 1:
                broken[at:at] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 9)))
            case 2:
                broken[at:at] = rng.choice(TOKENS)
            case _:
                broken[at : at + 1] = rng.choice([b"\0", b"\xff", b":", b"\n", b'"', b"#", b"%"])
    return bytes(broken)


def one(folder: Path, rng: random.Random) -> list[Item]:
    """One random trial of a random kind."""
    kind = rng.randrange(6)
    seed = rng.choice(SEEDS)
    if kind in (0, 1, 2):
        data = yaml.safe_load(seed.read_text()) if seed.suffix == ".yaml" else SMALL
        return well_behaved(write(folder, "descriptor.yaml", mutate(data, rng)))
    if kind == 3:
        path = folder / f"descriptor{seed.suffix}"
        path.write_bytes(bad_bytes(seed.read_bytes(), rng))
        return well_behaved(path)
    members = {path.relative_to(PACKAGE).as_posix(): path.read_bytes() for path in PACKAGE.rglob("*") if path.is_file()}
    victim = rng.choice(list(members))
    if victim.endswith(".yaml") and rng.random() < 0.5:
        members[victim] = yaml.safe_dump(mutate(yaml.safe_load(members[victim]), rng)).encode()
    else:
        members[victim] = bad_bytes(members[victim], rng)
    if rng.random() < 0.2:
        members[rng.choice(NAMES)] = b""
    path = folder / ("package.csar" if kind == 4 else "package.tar.gz")
    path.write_bytes(zipped(members) if kind == 4 else tarred(members))
    if rng.random() < 0.4:
        path.write_bytes(bad_bytes(path.read_bytes(), rng))
    return well_behaved(path)


def zipped(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


@QUICK
@given(seed=st.integers(min_value=0, max_value=1 << 32))
def test_mutated_descriptors_and_packages(seed: int, tmp_path: Path) -> None:
    one(tmp_path, random.Random(seed))


@QUICK
@given(data=st.binary(max_size=400), name=st.sampled_from(["x.yaml", "x.json", "x.csar", "x.tar.gz", "x"]))
def test_raw_bytes(data: bytes, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    assert len(well_behaved(path)) == 1


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)


@QUICK
@given(root=st.sampled_from(ROOTS), value=_JSON)
def test_any_value_under_a_known_root(root: str, value: Any, tmp_path: Path) -> None:
    data = {root: value}
    if root not in ("vnfd", "nsd", "nfv"):
        data["tosca_definitions_version"] = "tosca_simple_yaml_1_3"
    path = tmp_path / "descriptor.yaml"
    try:
        path.write_text(yaml.safe_dump(data, allow_unicode=True))
    except UnicodeEncodeError:
        return
    well_behaved(path)


@pytest.mark.skipif(not LONG_S, reason="MANOR_FUZZ_S is not set")
def test_for_a_long_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = int(time.time())
    end = time.monotonic() + LONG_S
    count, refused, slowest = 0, 0, 0.0
    while time.monotonic() < end:
        seed = start * 1_000_000 + count
        folder = tmp_path / "trial"
        folder.mkdir(exist_ok=True)
        began = time.monotonic()
        try:
            items = one(folder, random.Random(seed))
        except Exception as error:
            raise AssertionError(f"seed {seed} raises {error!r}") from error
        slowest = max(slowest, time.monotonic() - began)
        refused += any(item.accepted is False for item in items)
        for path in folder.iterdir():
            path.unlink()
        count += 1
    with capsys.disabled():
        print(f"\n{count} executions in {LONG_S:.0f} s, {refused} refused, slowest {slowest:.2f} s")
    assert count > 100
