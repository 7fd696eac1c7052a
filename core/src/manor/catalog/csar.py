"""CSAR packaging (ETSI SOL004, SOL007): TOSCA.meta or root metadata, the manifest, and the hashes they promise."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from manor.catalog.files import PackageFiles, digest_of, read_text_file, under
from manor.catalog.report import Report, did_you_mean
from manor.errors import DescriptorError

__all__ = ["DIGESTS", "META", "Csar", "FileHash", "read_csar"]

META = "TOSCA-Metadata/TOSCA.meta"
DIGESTS = {"sha1": 40, "sha224": 56, "sha256": 64, "sha384": 96, "sha512": 128, "md5": 32}
"""Hash algorithms by hashlib's names, with their number of hexadecimal digits."""
_MOST = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class FileHash:
    """What a metadata file promises of another."""

    name: str
    algorithm: str
    digest: str
    file: str
    line: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Csar:
    """What the packaging says."""

    entry: str = ""
    """Name of the file to start reading at; empty where none is there."""
    manifest: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """The manifest's metadata, keys in lower case."""


@dataclass(slots=True)
class _Block:
    """``Key: value`` lines up to an empty one; keys in lower case with their line."""

    fields: dict[str, tuple[str, int]] = field(default_factory=dict)

    def get(self, *names: str) -> tuple[str, int]:
        for name in names:
            if name in self.fields:
                return self.fields[name]
        return "", 0


def _blocks(text: str) -> list[_Block]:
    blocks = [_Block()]
    signature = False
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("-----"):
            signature = "BEGIN" in line
            continue
        if signature:
            continue
        key, colon, value = line.strip().partition(":")
        if not line.strip():
            if blocks[-1].fields:
                blocks.append(_Block())
        elif colon:
            low = key.strip().lower()
            if low in ("source", "name") and low in blocks[-1].fields:
                # Blocks that are not set apart by an empty line: each file's starts with its name.
                blocks.append(_Block())
            blocks[-1].fields.setdefault(low, (value.strip(), number))
    return [block for block in blocks if block.fields]


def _text(files: PackageFiles, name: str, report: Report) -> str:
    try:
        return read_text_file(files, name, _MOST).decode("utf-8-sig", "replace")
    except DescriptorError as error:
        report.extend(error.findings)
        return ""


def read_csar(files: PackageFiles, root: str, report: Report) -> Csar:
    """Read the packaging of the CSAR in folder ``root`` of ``files`` and check its hashes."""
    meta = under(root, META)
    entry = manifest = ""
    hashes: list[FileHash] = []
    if meta in files.sizes:
        blocks = _blocks(_text(files, meta, report))
        header = {key: value for block in blocks for key, value in block.fields.items() if "name" not in block.fields}
        wanted, line = header.get("entry-definitions", ("", 0))
        entry = _existing(files, root, wanted)
        if not wanted:
            report.error("entry-missing", "TOSCA.meta names no Entry-Definitions", file=meta, line=1)
        elif not entry:
            hint = did_you_mean(wanted, (name for name in files.sizes if name.endswith((".yaml", ".yml"))))
            report.error(
                "entry-missing", f"Entry-Definitions {wanted[:200]} is not there", file=meta, line=line, hint=hint
            )
        named, line = header.get("etsi-entry-manifest", ("", 0))
        manifest = _existing(files, root, named)
        if named and not manifest:
            report.error("manifest-missing", f"ETSI-Entry-Manifest {named[:200]} is not there", file=meta, line=line)
        for key in ("etsi-entry-change-log", "etsi-entry-licenses", "etsi-entry-tests", "etsi-entry-certificate"):
            named, line = header.get(key, ("", 0))
            if named and not _exists(files, root, named):
                report.warning("artifact-missing", f"{key}: {named[:200]} is not there", file=meta, line=line)
        hashes += _promised(files, root, blocks, meta, report)
    if not manifest:
        at_root = [
            name for name in files.sizes if name.endswith(".mf") and under(root, name.rpartition("/")[2]) == name
        ]
        manifest = at_root[0] if len(at_root) == 1 else ""
    metadata: dict[str, str] = {}
    if manifest:
        blocks = _blocks(_text(files, manifest, report))
        hashes += _promised(files, root, blocks, manifest, report)
        for block in blocks:
            if "source" not in block.fields:
                metadata |= {key: value for key, (value, _) in block.fields.items()}
    _verify(files, root, hashes, report)
    return Csar(entry=entry, manifest=manifest, metadata=metadata)


def _existing(files: PackageFiles, root: str, name: str) -> str:
    path = under(root, name) if name else ""
    return path if path in files.sizes else ""


def _exists(files: PackageFiles, root: str, name: str) -> bool:
    path = under(root, name)
    return path in files.sizes or any(known.startswith(f"{path}/") for known in files.sizes)


def _promised(files: PackageFiles, root: str, blocks: Iterable[_Block], file: str, report: Report) -> list[FileHash]:
    found = []
    for block in blocks:
        name, line = block.get("source", "name")
        algorithm, _ = block.get("algorithm")
        digest, hash_line = block.get("hash")
        if not name or not (algorithm or digest):
            continue
        if not (algorithm and digest):
            lacks = "Hash" if algorithm else "Algorithm"
            report.error("hash-incomplete", f"{name[:200]} has no {lacks}", file=file, line=hash_line or line)
            continue
        key = algorithm.lower().replace("-", "").replace("_", "")
        if key not in DIGESTS or key not in hashlib.algorithms_available:
            hint = "SOL004 knows SHA-256 and SHA-512"
            report.error(
                "hash-algorithm", f"{name[:200]}: {algorithm[:40]} is unknown", file=file, line=line, hint=hint
            )
            continue
        if len(digest) != DIGESTS[key] or not all(letter in "0123456789abcdefABCDEF" for letter in digest):
            # Of a file that is there this is an error: it could not be verified.
            say = report.error if _existing(files, root, name) else report.warning
            message = f"{name[:200]}: not a {algorithm} hash, which has {DIGESTS[key]} hexadecimal digits"
            say("hash-malformed", message, file=file, line=hash_line)
            continue
        found.append(FileHash(name=name, algorithm=key, digest=digest.lower(), file=file, line=hash_line))
    return found


def _verify(files: PackageFiles, root: str, hashes: Iterable[FileHash], report: Report) -> None:
    done: dict[tuple[str, str], str] = {}
    for promised in hashes:
        if "://" in promised.name:
            report.info("artifact-remote", f"{promised.name[:200]} is outside the package", file=promised.file)
            continue
        path = under(root, promised.name)
        if path not in files.sizes:
            message = f"{promised.name[:200]} is not in the package"
            report.warning("artifact-missing", message, file=promised.file, line=promised.line)
            continue
        key = (path, promised.algorithm)
        try:
            found = done[key] = done.get(key) or digest_of(files, path, promised.algorithm)
        except DescriptorError as error:
            report.extend(error.findings)
            continue
        if found != promised.digest:
            message = f"{promised.name[:200]} is not what the {promised.algorithm} hash promises"
            hint = f"it is {found}"
            report.error("hash-mismatch", message, file=promised.file, line=promised.line, hint=hint)
