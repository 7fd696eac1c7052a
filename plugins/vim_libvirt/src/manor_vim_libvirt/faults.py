"""libvirt's errors in Manor's words: what happened to which key on which host, and what core should do next."""

from __future__ import annotations

from typing import Any

from manor.errors import (
    Conflict,
    DriverError,
    Indeterminate,
    NotFound,
    Permanent,
    QuotaExceeded,
    Transient,
    Unauthorized,
    Unsupported,
)
from manor_vim_libvirt.virtlogd import REMEDY, SOCKET

__all__ = ["has_no_file", "is_lost_connection", "translate"]

_ABSENT = ("NO_DOMAIN", "NO_NETWORK", "NO_STORAGE_POOL", "NO_STORAGE_VOL", "NO_SECRET", "NO_NWFILTER")
_REFUSED = ("AUTH_FAILED", "AUTH_CANCELLED", "AUTH_UNAVAILABLE", "ACCESS_DENIED", "OPERATION_DENIED")
_CANNOT = ("NO_SUPPORT", "CONFIG_UNSUPPORTED", "OPERATION_UNSUPPORTED", "ARGUMENT_UNSUPPORTED")
_EXISTS = ("DOM_EXIST", "NETWORK_EXIST", "STORAGE_VOL_EXIST", "OPERATION_FAILED")
_WRONG = ("XML_ERROR", "XML_DETAIL", "INVALID_ARG", "XML_INVALID_SCHEMA", "AGENT_COMMAND_FAILED")
_LATER = ("RESOURCE_BUSY", "AGENT_UNRESPONSIVE", "AGENT_UNSYNCED")
_LOST = ("RPC", "SYSTEM_ERROR", "NO_CONNECT", "INVALID_CONN", "GNUTLS_ERROR", "LIBSSH", "SSH", "CLOSED")
_NO_ROOM = ("no space left", "cannot allocate memory", "not enough free", "unable to map backing store")
_DEAD_QEMU = ("process exited", "qemu unexpectedly closed", "failed to start")


def _codes(names: tuple[str, ...]) -> set[int]:
    import libvirt

    return {getattr(libvirt, f"VIR_ERR_{name}") for name in names if hasattr(libvirt, f"VIR_ERR_{name}")}


def is_lost_connection(error: Any, connection: Any) -> bool:
    """Whether ``error`` means that the connection died under the call."""
    import libvirt

    if error.get_error_code() not in _codes(_LOST) and error.get_error_code() != libvirt.VIR_ERR_INTERNAL_ERROR:
        return False
    try:
        return not connection.isAlive()
    except libvirt.libvirtError:
        return True


def translate(error: Any, *, key: str, host: str, doing: str, effect: bool) -> DriverError:
    """The Manor error for a libvirtError. ``effect``: the call may have changed something before it failed."""
    import libvirt

    code: int = error.get_error_code()
    words = " ".join(str(error.get_error_message() or error).split())
    message = f"{doing} {key} on host {host}: {words}" if key else f"{doing} on host {host}: {words}"
    lower = words.lower()
    if any(sign in lower for sign in _NO_ROOM):
        return QuotaExceeded(message, hint="free room on the host, or place it elsewhere")
    if code in _codes(_ABSENT):
        return NotFound(message, hint="run the plan again; something it needs was removed")
    if code in _codes(_REFUSED):
        return Unauthorized(message, hint="check the user, the key or the password file of this host")
    if code in _codes(_CANNOT):
        return Unsupported(message, hint="see what the host offers: manor vim show")
    if code in _codes(_EXISTS):
        return Conflict(message, replace=False, hint="another resource of that name is there; remove or rename it")
    if code in _codes(_WRONG):
        return Permanent(message, hint="correct what the descriptor asks of this host")
    if code in _codes(_LATER):
        return Transient(message, retry_after_s=1.0)
    if SOCKET in lower:
        why = f"{doing} {key} on host {host}: virtlogd does not answer there, so no machine can start ({words})"
        return Transient(why, retry_after_s=1.0, hint=f"on {host}: {REMEDY}; then retry")
    if any(sign in lower for sign in _DEAD_QEMU):
        return Permanent(message, hint=f"look into /var/log/libvirt/qemu/ on host {host}; manor doctor")
    if not effect:
        return Transient(message, retry_after_s=1.0, hint="manor doctor")
    if code == libvirt.VIR_ERR_OPERATION_INVALID:
        return Indeterminate(message, hint="its state changed meanwhile; observe and plan again")
    return Indeterminate(message, hint="manor doctor")


def has_no_file(error: Any) -> bool:
    """Whether libvirt looked for a volume's file, and there was none."""
    import libvirt

    code = error.get_error_code()
    is_failed_look = code == libvirt.VIR_ERR_SYSTEM_ERROR and error.get_error_domain() == libvirt.VIR_FROM_STORAGE
    return code == libvirt.VIR_ERR_NO_STORAGE_VOL or is_failed_look
