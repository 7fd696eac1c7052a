"""Letting go of a package together with the images of it that hosts have cached."""

from __future__ import annotations

from manor.catalog.onboard import delete as let_go
from manor.lcm.endpoints import forget_images
from manor.lcm.runtime import Runtime

__all__ = ["delete"]


def delete(rt: Runtime, package_id: str) -> tuple[str, ...]:
    """Delete a package that no service uses; keys of cached images that a VIM could not be rid of are returned.

    Images that another package has too stay. Raises UsageError where a service uses the package.
    """
    from manor.store import packages

    with rt.store.read() as tx:
        mine = set(packages.get(tx, package_id).artifacts.values())
    let_go(rt, package_id)
    with rt.store.read() as tx:
        others = {sha256 for info in packages.all_of(tx) for sha256 in info.artifacts.values()}
    return forget_images(rt, frozenset(mine - others))
