"""``manor subscription``: who is told of what happens."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Annotated

import typer

from manor.cli.find import ns_names
from manor.cli.session import new_app, session
from manor.errors import UsageError
from manor.model.notification import NotificationType, Subscription

__all__ = ["app", "wanted_types"]

app = new_app("Subscribers, told of what happens by webhook: create, list, delete.")

_MOST = 32
"""Each has a thread of its own in ``manor serve``."""


@app.command()
def create(
    ctx: typer.Context,
    uri: Annotated[str, typer.Argument(metavar="URL", help="Where notifications are POSTed, http or https.")],
    type: Annotated[
        list[str] | None, typer.Option("--type", help="Only notifications of this type; may be given several times.")
    ] = None,
    ns: Annotated[str, typer.Option(help="Only about this service.")] = "",
    secret_file: Annotated[
        Path | None, typer.Option(help="File with the key that signs each notification; mode 0600.")
    ] = None,
) -> None:
    """Tell an address of everything that happens from now on. `manor serve` delivers."""
    from manor.notify.webhook import checked_uri, shown_uri
    from manor.secrets import read_secret
    from manor.store import instances, notifications

    s = session(ctx)
    secret = str(secret_file.absolute()) if secret_file else ""
    if secret:
        read_secret(secret)
    checked_uri(uri)
    types = wanted_types(type or [])
    with s.runtime.store.begin() as tx:
        if len(notifications.subscriptions(tx)) >= _MOST:
            raise UsageError(f"there are {_MOST} subscriptions, and no more may be", hint="manor subscription list")
        made = Subscription(
            id=uuid.uuid4().hex[:12],
            callback_uri=uri,
            types=types,
            ns_id=instances.get(tx, ns).id if ns else "",
            secret_file=secret,
            created_s=time.time(),
            cursor=notifications.last(tx),
        )
        notifications.add_subscription(tx, made)
    s.out.result(made, lambda: s.out.line(f"subscription {made.id}: {shown_uri(uri)} is told by manor serve"))


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """List subscribers, and how far each has been told."""
    from manor.notify.webhook import shown_uri
    from manor.store import notifications

    s = session(ctx)
    with s.runtime.store.read() as tx:
        found = notifications.subscriptions(tx)
        last = notifications.last(tx)

    def human() -> None:
        names = ns_names(s)
        s.out.table(
            ["id", "url", "types", "service", "waiting", "state"],
            [
                [
                    one.id,
                    shown_uri(one.callback_uri),
                    ", ".join(one.types) or "all",
                    names.get(one.ns_id, one.ns_id) or "all",
                    max(last - one.cursor, 0),
                    f"{one.failures} attempts failed: {one.error}" if one.failures else one.error or "ok",
                ]
                for one in found
            ],
            empty="no subscriptions",
            right=("waiting",),
        )

    s.out.result(found, human)


@app.command()
def delete(ctx: typer.Context, id: Annotated[str, typer.Argument(help="Its id, or the start of it.")]) -> None:
    """Tell a subscriber nothing more."""
    from manor.store import notifications

    s = session(ctx)
    with s.runtime.store.begin() as tx:
        gone = notifications.remove_subscription(tx, id)
    s.out.result({"id": gone}, lambda: s.out.line(f"subscription {gone} is gone"))


def wanted_types(words: list[str]) -> tuple[NotificationType, ...]:
    """The types that were named. Raises UsageError for one that is none, naming those that are."""
    known = {str(kind): kind for kind in NotificationType}
    for word in words:
        if word not in known:
            raise UsageError(f"no notification has the type {word}", hint=f"one of {', '.join(known)}")
    return tuple(known[word] for word in words)
