"""Debian packages as raw material: what apt says is current, fetched once, unpacked without being installed.

Installing would change the host; ``apt-get download`` and ``dpkg-deb -x`` do not, and apt checks every hash.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["BuildError", "Deb", "behind", "fetch", "resolve", "unpack"]

_URI = re.compile(r"^'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})$")


class BuildError(Exception):
    """An image cannot be built; the message names what is missing and the remedy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Deb:
    """One binary package as apt would fetch it now."""

    file: str
    sha256: str

    @property
    def title(self) -> str:
        """Package name and version, as ``busybox-static 1:1.35.0-4``."""
        name, version, _ = self.file.split("_", 2)
        return f"{name} {version.replace('%3a', ':')}"


def resolve(packages: Sequence[str]) -> list[Deb]:
    """The current version of each package, in order of file name. Raises BuildError for an unknown one."""
    output = run(["apt-get", "--quiet", "--option", "APT::Sandbox::User=root", "download", "--print-uris", *packages])
    debs = [
        Deb(file=match["file"], sha256=match["sha256"]) for line in output.splitlines() if (match := _URI.match(line))
    ]
    if len(debs) != len(packages):
        raise BuildError(f"apt knows {len(debs)} of {', '.join(packages)}; remedy: apt-get update")
    return sorted(debs, key=lambda deb: deb.file)


def behind(metapackage: str, pattern: str) -> str:
    """The one dependency of ``metapackage`` whose name matches ``pattern``, as the kernel behind its metapackage."""
    found = re.findall(rf"^\s*Depends: ({pattern})$", run(["apt-cache", "depends", metapackage]), re.MULTILINE)
    if len(found) != 1:
        raise BuildError(f"{metapackage}: no single dependency like {pattern}; remedy: apt-get update")
    return str(found[0])


def fetch(packages: Sequence[str], debs: Sequence[Deb], cache: Path) -> None:
    """Make sure that each of ``debs`` lies in ``cache``."""
    cache.mkdir(parents=True, exist_ok=True)
    if all((cache / deb.file).exists() for deb in debs):
        return
    run(["apt-get", "--quiet", "--option", "APT::Sandbox::User=root", "download", *packages], cwd=cache)
    missing = [deb.file for deb in debs if not (cache / deb.file).exists()]
    if missing:
        raise BuildError(f"apt fetched no {', '.join(missing)}; remedy: apt-get update, then again")


def unpack(debs: Sequence[Deb], cache: Path, into: Path) -> None:
    """Lay the files of ``debs`` over each other in ``into``."""
    into.mkdir(parents=True, exist_ok=True)
    for deb in debs:
        run(["dpkg-deb", "--extract", str(cache / deb.file), str(into)])


def run(argv: Sequence[str], *, cwd: Path | None = None) -> str:
    """The command's standard output. Raises BuildError with its last words when it fails."""
    try:
        done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise BuildError(f"{argv[0]} is not installed; images are built on Debian only") from error
    if done.returncode != 0:
        words = done.stderr.strip().splitlines() or ["no message"]
        raise BuildError(f"{' '.join(argv[:2])} failed: {words[-1]}; remedy: apt-get update, then again")
    return done.stdout
