"""The way into a guest: qemu-guest-agent over virtio-serial, through libvirt.

What a guest answers is hostile: sizes are bounded, types are checked, and a guest that never answers costs its own
call only.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Sequence
from typing import Any

from manor.api import CallContext, GuestResult
from manor.errors import DeadlineExceeded, NotFound, Permanent, Transient
from manor_vim_libvirt.link import Link
from manor_vim_libvirt.names import domain_uuid

__all__ = ["execute", "ping"]

_OUTPUT_MAX = 4 << 20
_POLL_FIRST_S, _POLL_MOST_S = 0.01, 0.25
_ANSWER_S = 5


def _domain(link: Link, owner: str, key: str) -> Any:
    import libvirt

    try:
        return link.connection().lookupByUUIDString(str(domain_uuid(owner, key)))
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            raise NotFound(f"node {key} is not on host {link.name}") from error
        raise


def _ask(link: Link, domain: Any, key: str, command: str, arguments: dict[str, Any], ctx: CallContext) -> Any:
    """One agent command. Raises Transient while no agent answers."""
    import libvirt
    import libvirt_qemu

    ctx.check(f"asking the agent of {key}")
    request = json.dumps({"execute": command, "arguments": arguments} if arguments else {"execute": command})
    wait_s = max(1, min(_ANSWER_S, round(ctx.remaining_s())))
    try:
        answer = libvirt_qemu.qemuAgentCommand(domain, request, wait_s, 0)
    except libvirt.libvirtError as error:
        silent = (
            libvirt.VIR_ERR_AGENT_UNRESPONSIVE,
            libvirt.VIR_ERR_AGENT_UNSYNCED,
            libvirt.VIR_ERR_OPERATION_INVALID,
            libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED,
        )
        if error.get_error_code() in silent:
            words = error.get_error_message()
            raise Transient(f"no agent answers in node {key} on host {link.name}: {words}") from error
        raise
    try:
        return json.loads(answer)["return"]
    except (ValueError, KeyError, TypeError) as error:
        raise Permanent(f"the agent in node {key} answers {command} with nonsense") from error


def ping(link: Link, owner: str, key: str, ctx: CallContext) -> bool:
    """Whether the agent answers now."""
    try:
        _ask(link, _domain(link, owner, key), key, "guest-ping", {}, ctx)
    except Transient:
        return False
    return True


def execute(
    link: Link, owner: str, key: str, argv: Sequence[str], ctx: CallContext, *, stdin: bytes = b""
) -> GuestResult:
    """Run a program in the guest and wait for its end, at most until the deadline."""
    if not argv:
        raise Permanent(f"node {key}: an empty command")
    domain = _domain(link, owner, key)
    arguments: dict[str, Any] = {"path": argv[0], "arg": list(argv[1:]), "capture-output": True}
    if stdin:
        arguments["input-data"] = base64.b64encode(stdin).decode()
    started = _ask(link, domain, key, "guest-exec", arguments, ctx)
    pid = started.get("pid") if isinstance(started, dict) else None
    if not isinstance(pid, int):
        raise Permanent(f"the agent in node {key} gave no process id")
    pause_s = _POLL_FIRST_S
    while True:
        status = _ask(link, domain, key, "guest-exec-status", {"pid": pid}, ctx)
        if not isinstance(status, dict):
            raise Permanent(f"the agent in node {key} answers nonsense")
        if status.get("exited") is True:
            return _result(status, key)
        if ctx.remaining_s() <= pause_s:
            raise DeadlineExceeded(f"{argv[0]} in node {key} had not ended in time", hint="raise the deadline")
        if ctx.is_cancelled():
            raise Transient(f"{argv[0]} in node {key}: no longer waited for, the operation is cancelled")
        time.sleep(pause_s)
        pause_s = min(_POLL_MOST_S, pause_s * 2)


def _result(status: dict[str, Any], key: str) -> GuestResult:
    code = status.get("exitcode")
    if not isinstance(code, int):
        signal = status.get("signal")
        code = 128 + signal if isinstance(signal, int) else 255
    return GuestResult(
        exit_code=code, stdout=_bytes(status.get("out-data"), key), stderr=_bytes(status.get("err-data"), key)
    )


def _bytes(value: object, key: str) -> bytes:
    if value is None:
        return b""
    if not isinstance(value, str) or len(value) > _OUTPUT_MAX * 4 // 3 + 4:
        raise Permanent(f"the agent in node {key} sent output that is too long or no text")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Permanent(f"the agent in node {key} sent output that is not base64") from error
