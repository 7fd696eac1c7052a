"""Proof that a new tunnel carries, before anything relies on it.

A frame as large as the segment's may be is put into the tunnel under a tunnel id that no rule knows, until the other
end has counted it; there it is dropped, so no machine ever sees one. It shows that the hosts reach each other, that
nobody filters VXLAN between them, that the network takes frames of the promised size; and it makes the userspace
datapath look up its neighbour, which costs the first frames of every new tunnel otherwise.
"""

from __future__ import annotations

import threading
import time

from manor.errors import Transient
from manor_sdn_ryu.session import Session

__all__ = ["PROBE_TUNNEL_ID", "prove"]

PROBE_TUNNEL_ID = 0
"""Never a segment's or a chain's (:func:`manor_sdn_ryu.pipeline.tunnel_id`)."""
_ETHER_TYPE = bytes.fromhex("88b5")
"""Local experimental (IEEE 802)."""
_HEADER = bytes.fromhex("02004d4e5201") + bytes.fromhex("02004d4e5202") + _ETHER_TYPE
_PAUSE_S = 0.05


def prove(sender: Session, device: str, receiver: Session, peer_device: str, *, mtu: int, deadline: float) -> None:
    """Return once a frame with ``mtu`` bytes behind its header came through. ``deadline`` is monotonic.

    Raises Transient where none did.
    """
    frame = _HEADER + bytes(mtu)
    before = receiver.received(peer_device, _left(deadline))
    while True:
        sender.inject(frame, device, PROBE_TUNNEL_ID, _left(deadline))
        threading.Event().wait(_PAUSE_S)
        if receiver.received(peer_device, _left(deadline)) > before:
            return
        if time.monotonic() > deadline:
            raise Transient(
                f"no frame of {len(frame)} bytes gets from host {sender.address} to {receiver.address} by a tunnel",
                hint="do the underlay addresses reach each other, is UDP port 4789 open, is underlay_mtu right?",
            )


def _left(deadline: float) -> float:
    return max(1.0, deadline - time.monotonic())
