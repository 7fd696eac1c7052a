"""What a domain's state means for a node: a pure table."""

from __future__ import annotations

from manor.api import Phase, PowerState

__all__ = ["node_phase"]

# virDomainState and the reasons that matter; numbers as in libvirt's ABI, so that this needs no libvirt to be read.
_RUNNING, _BLOCKED, _PAUSED, _SHUTDOWN, _SHUTOFF, _CRASHED, _PMSUSPENDED = 1, 2, 3, 4, 5, 6, 7
_PAUSED_WHY = {1: "by hand", 2: "migration", 3: "save", 4: "dump", 5: "I/O error", 6: "watchdog", 8: "shutting down",
               9: "snapshot", 10: "guest crashed", 11: "starting up"}  # fmt: skip
_OFF_WHY = {1: "the guest shut down", 2: "destroyed", 3: "crashed", 4: "migrated", 5: "saved", 6: "failed to start",
            8: "the host's daemon lost it"}  # fmt: skip
_OFF_BADLY = frozenset({3, 6, 8})


def node_phase(state: int, reason: int, *, wanted: str) -> tuple[Phase, str]:
    """The phase, and why where it is not the wanted one. ``wanted`` is the stored PowerState."""
    if state in (_RUNNING, _BLOCKED):
        if wanted == PowerState.STOPPED:
            return Phase.DEGRADED, "it runs though it should be stopped"
        return Phase.ACTIVE, ""
    if state == _PAUSED:
        why = _PAUSED_WHY.get(reason, f"reason {reason}")
        if reason == 11:
            return Phase.PENDING, "starting up"
        return (Phase.ERROR if reason in (5, 10) else Phase.DEGRADED), f"paused: {why}"
    if state == _SHUTDOWN:
        return Phase.PENDING, "shutting down"
    if state == _CRASHED:
        return Phase.ERROR, "crashed"
    if state == _PMSUSPENDED:
        return Phase.DEGRADED, "the guest suspended itself"
    if state != _SHUTOFF:
        return Phase.UNKNOWN, f"state {state}"
    if wanted == PowerState.STOPPED:
        return Phase.STOPPED, ""
    if reason in _OFF_BADLY:
        return Phase.ERROR, _OFF_WHY[reason]
    if reason == 0:
        return Phase.PENDING, "defined, not started since the host's daemon started"
    return Phase.STOPPED, _OFF_WHY.get(reason, f"off, reason {reason}")
