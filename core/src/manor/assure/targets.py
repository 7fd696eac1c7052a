"""What a Prometheus scrapes: Manor itself and, where wanted, an exporter of each VNFC, as ``file_sd_configs`` reads it.

Printed by ``manor metrics sd``, and kept fresh by ``manor serve`` where the settings name a file.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from manor.assure.sight import Service

__all__ = ["target_groups", "write_targets"]


def target_groups(services: Sequence[Service], listen: str, exporter: int = 0) -> list[dict[str, Any]]:
    """Manor at ``listen``, and with a port of an ``exporter`` each VNFC where it is managed. Pure."""
    return [
        {"targets": [listen], "labels": {"job": "manor"}},
        *(group for service in services if exporter for group in _vnfcs(service, exporter)),
    ]


def _vnfcs(service: Service, port: int) -> Iterator[dict[str, Any]]:
    for _, node in service.nodes():
        if address := service.address_of(node):
            host = f"[{address}]" if ":" in address else address
            labels = {name: dict(node.labels).get(name, "") for name in ("vnf", "vnfc")}
            yield {"targets": [f"{host}:{port}"], "labels": {"job": "vnf", "service": service.name, **labels}}


def write_targets(path: Path, groups: Sequence[dict[str, Any]]) -> bool:
    """Have the file say this, for any user to read; whether it said something else. Raises OSError."""
    text = json.dumps(groups, indent=2) + "\n"
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if path.read_text(encoding="utf-8") == text:
            return False
    # Prometheus reads it at any time: it has to be whole.
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(number, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(text)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
    return True
