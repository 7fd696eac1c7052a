"""Staying with an operation until it rests: working it off here where no other process does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from manor.lcm.apply import Progress
from manor.lcm.runtime import Runtime
from manor.model.instance import NsLcmOpOcc

__all__ = ["follow", "working"]


@contextmanager
def working(rt: Runtime) -> Iterator[bool]:
    """Be a worker meanwhile; False where another process is the one (a ``manor serve`` on SQLite).

    Leaving it stops what still runs at its next step, resumable. Inside another one it is that one's.
    """
    if rt.worker.is_working:
        yield True
        return
    try:
        yield rt.worker.start()
    finally:
        rt.release_worker()


def follow(rt: Runtime, operation_id: str, on_event: Callable[[Progress], None] | None = None) -> NsLcmOpOcc:
    """Wait until the operation rests, telling ``on_event`` of each change, and return it as it is then.

    Where another process is the worker this one takes over as soon as that one goes: nobody else might.
    """
    with working(rt):
        last = None
        for progress in rt.operations.watch(operation_id, meanwhile=lambda: rt.worker.start()):
            last = progress.operation
            if on_event is not None:
                on_event(progress)
        return last or rt.operations.get(operation_id)[0]
