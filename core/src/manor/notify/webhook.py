"""One notification to one address: what is sent, and what counts as received.

A receiver that was given a key can tell that a notification is Manor's and whole: ``Manor-Signature`` is
``t=<seconds>,v1=<hex>``, the HMAC-SHA256 of ``<seconds>.<body>``. The key is read from its file each time, so it can be
changed without a word here, and it is kept nowhere else.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from manor.errors import Permanent, Transient, UsageError
from manor.secrets import read_secret

__all__ = ["checked_uri", "send", "shown_uri", "signature"]

_TIMEOUT_S = 10.0
_ANSWER_BYTES = 4096


def checked_uri(text: str) -> str:
    """A callback address. Raises UsageError where it is not http or https, or holds a password."""
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - read for what it raises
    except ValueError as error:
        raise UsageError(f"'{text}' is no callback address: {error}", hint="check the host and the port") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or not text.isprintable():
        raise UsageError(f"'{text}' is no callback address", hint="for example https://oss.example/notifications")
    if parts.username is not None:
        raise UsageError("a callback address holds no user or password", hint="sign with --secret-file instead")
    return text


def shown_uri(text: str) -> str:
    """The address without its query, which may hold a token."""
    return text.partition("?")[0]


def signature(key: bytes, body: bytes, time_s: int) -> str:
    """The value of ``Manor-Signature``."""
    return f"t={time_s},v1={hmac.new(key, b'%d.%s' % (time_s, body), hashlib.sha256).hexdigest()}"


def send(uri: str, document: Mapping[str, Any], *, secret_file: str = "", timeout_s: float = _TIMEOUT_S) -> None:
    """POST a notification; any 2xx answer means received.

    Redirects are not followed: what is sent goes where the operator said. Raises Transient where it is worth another
    attempt (the receiver is away, or answers 408, 425, 429 or 5xx), Permanent where it is not.
    """
    import urllib3

    body = json.dumps(document).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "manor"}
    try:
        if secret_file:
            headers["Manor-Signature"] = signature(read_secret(secret_file).encode(), body, int(time.time()))
        answer = _pool().request(
            "POST",
            uri,
            body=body,
            headers=headers,
            timeout=urllib3.Timeout(total=timeout_s),
            retries=False,
            redirect=False,
            preload_content=False,
        )
    except UsageError as error:
        raise Transient(error.message, hint=error.hint) from error
    except urllib3.exceptions.HTTPError as error:
        raise Transient(f"{shown_uri(uri)} cannot be reached: {type(error).__name__}") from error
    try:
        # As it comes: a few bytes could unpack into very many.
        answer.read(_ANSWER_BYTES, decode_content=False)
    except urllib3.exceptions.HTTPError as error:
        raise Transient(f"{shown_uri(uri)} broke off its answer") from error
    finally:
        answer.close()  # one that was not read whole would have the rest of it taken for the next answer
    if 200 <= answer.status < 300:
        return
    said = f"{shown_uri(uri)} answered {answer.status}"
    if answer.status in (408, 425, 429) or answer.status >= 500:
        raise Transient(said)
    raise Permanent(said, hint="see the receiver's log")


@functools.cache
def _pool() -> Any:
    import urllib3

    return urllib3.PoolManager(maxsize=1, num_pools=32)
