"""``manor sdn``: the SDN controllers, which steer traffic between machines."""

from __future__ import annotations

from manor.cli.endpoints import endpoint_app
from manor.model.instance import EndpointKind

__all__ = ["app"]

app = endpoint_app(EndpointKind.SDN, "SDN controllers, which steer traffic: add, list, show, check, remove.")
