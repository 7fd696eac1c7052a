"""Several lab hosts on one network, as one VIM and one controller of an installation of their own."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from manor.testing.lab import LabHost, underlay

from .conftest import Site

__all__ = ["opened"]

_S = TypeVar("_S", bound=Site)


@contextlib.contextmanager
def opened(hosts: Sequence[str], made: Callable[[Path, Mapping[str, LabHost]], _S]) -> Iterator[_S]:
    """The hosts, registered as ``lab`` and ``net`` at the site that ``made`` makes of a folder and of them."""
    with contextlib.ExitStack() as stack:
        # Unix sockets allow few characters, so not pytest's long directory names.
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="manor-e2e-", dir="/tmp")))
        work.chmod(0o711)
        labs = {host: stack.enter_context(LabHost(host, work / host)) for host in hosts}
        addresses = underlay(labs)
        site = made(work, labs)
        machines = [
            {"name": h, "uri": lab.uri, "ovsdb": lab.ovsdb, "pool_dir": str(lab.pool_dir)} for h, lab in labs.items()
        ]
        switches = [{"host": h, "ovsdb": lab.ovsdb, "underlay": addresses[h]} for h, lab in labs.items()]
        for name, settings in (("vim", {"hosts": machines, "accel": "tcg"}), ("sdn", {"switches": switches})):
            (work / f"{name}.json").write_text(json.dumps(settings))
        site.manor("vim", "add", "lab", "--driver", "libvirt", "--config", str(work / "vim.json"))
        site.manor("sdn", "add", "net", "--driver", "ryu", "--config", str(work / "sdn.json"))
        try:
            yield site
        finally:
            for service in site.ask("ns", "list"):
                site.manor("ns", "delete", service["name"], "--force", "--yes")
            site.manor("sdn", "remove", "net", "--force")
