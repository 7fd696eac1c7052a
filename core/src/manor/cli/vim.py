"""``manor vim``: the VIMs, where machines run, and what of ours lies on them unclaimed."""

from __future__ import annotations

from manor.cli.endpoints import endpoint_app
from manor.model.instance import EndpointKind

__all__ = ["app"]

app = endpoint_app(EndpointKind.VIM, "VIMs, where machines run: add, list, show, check, remove, orphans.")
