"""Ansible playbooks: the one thing of a package that runs on this host, and only where the operator said so.

What may run is named by the package's content: another content has to be allowed anew. A playbook reaches the VNF's
machines by SSH, as everything else does (:mod:`manor.lcm.ssh`), with the script's parameters as variables. It runs in a
directory of its own that is gone afterwards, through ansible-runner, which needs ``ansible-playbook`` beside it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manor.api import CallContext, Script, VnfView
from manor.errors import DeadlineExceeded, DriverError, Permanent, Unsupported
from manor.lcm.playplace import place, sweep
from manor.lcm.ssh import SshGuest

if TYPE_CHECKING:
    from manor.lcm.runtime import Runtime

__all__ = ["is_playbook", "run_playbook", "why_not"]

_SETTINGS = "[defaults]\nnocolor = true\n[ssh_connection]\npipelining = true\n"
_WAYS = {"ANSIBLE_HOST_KEY_CHECKING": "True", "ANSIBLE_SSH_ARGS": "-C"}
"""Neither ansible-runner, which looks at no host key by itself, nor the operator's environment has another say. No
connection outlives the playbook."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def is_playbook(script: Script) -> bool:
    """Whether this is a playbook, by its artifact's type or its file's ending."""
    return script.kind.lower().endswith(("ansible", ".yml", ".yaml"))


def why_not(rt: Runtime, vnfd_id: str, ways: Mapping[str, str]) -> str:
    """Why playbooks of this VNFD's package cannot be run; empty where they can. ``ways`` lead into its machines."""
    from manor.model.instance import PackageKind
    from manor.store import packages
    from manor.store.called import in_full

    with rt.store.read() as tx:
        info = packages.by_descriptor(tx, PackageKind.VNF, vnfd_id)
        allowed = info is not None and info.content_sha256 in packages.playbooks_allowed(tx)
    if not allowed:
        called = shlex.quote(in_full(info) if info else vnfd_id)
        return f"playbooks run on this host; if you trust it: manor package allow {called}"
    if find_spec("ansible_runner") is None or not shutil.which("ansible-playbook", path=_path()):
        return "there is no ansible here: pip install 'manor[ansible]' ansible-core"
    if not any(way.startswith("ssh://") for way in ways.values()):
        return "a playbook goes by SSH, and no machine has an ssh_user"
    return ""


def run_playbook(rt: Runtime, view: VnfView, guests: Mapping[str, Any], script: Script, ctx: CallContext) -> None:
    """Run it against the VNF's machines.

    Raises Unsupported where it is not allowed any more, DeadlineExceeded, Permanent where it fails or finds no machine
    to play on, and what the way into a machine raises.
    """
    import ansible_runner  # type: ignore[import-untyped]

    machines = [(vnfc, guest) for vnfc in view.vnfcs if isinstance(guest := guests.get(vnfc.key), SshGuest)]
    if why := why_not(rt, view.vnfd_id, {vnfc.key: guest.uri for vnfc, guest in machines}):
        raise Unsupported(f"{view.name}: {script.name}: {why}", capability="playbook")
    hosts = {vnfc.name: guest.as_ansible_host() for vnfc, guest in machines if script.vdu_id in ("", vnfc.vdu_id)}
    variables = {
        **{name: value for name, value in script.parameters.items() if _NAME.fullmatch(name)},
        "manor_service": view.service,
        "manor_vnf": view.name,
    }
    sweep(rt.home)
    with place(rt.home) as here:
        project = here / "project"
        project.mkdir()
        project.joinpath("playbook.yaml").write_text(script.content)
        # Settings of our own, so that nobody else's are found.
        settings = here / "ansible.cfg"
        settings.write_text(_SETTINGS)
        done = ansible_runner.run(
            private_data_dir=str(here),
            playbook="playbook.yaml",
            inventory={"all": {"hosts": hosts}},
            extravars=variables,
            envvars={**_WAYS, "ANSIBLE_CONFIG": str(settings), "LC_ALL": "C.UTF-8", "PATH": _path()},
            settings={"job_timeout": max(1, int(ctx.remaining_s()))},
            quiet=True,
            cancel_callback=ctx.is_cancelled,
        )
        if done.status == "timeout":
            raise DeadlineExceeded(f"{view.name}: {script.name} has not ended in time")
        if done.rc != 0 or done.status != "successful":
            raise _failure(done, f"{view.name}: {script.name}", {vnfc.name: guest for vnfc, guest in machines})
        if not (done.stats or {}).get("processed"):
            raise Permanent(
                f"{view.name}: {script.name} played on no machine", hint=f"its hosts are: all, {', '.join(hosts)}"
            )


def _path() -> str:
    """Where ``ansible-playbook`` may be: beside our interpreter, or where programs are."""
    return os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))


def _failure(done: Any, what: str, guests: Mapping[str, SshGuest]) -> DriverError:
    """The first task that failed, on one line, or why a machine let nobody in.

    Once a task has run, on whatever machine, the playbook has had an effect: it is not to be played again by itself.
    """
    has_run = False
    for event in done.events:
        data, what_came = event.get("event_data", {}), event.get("event")
        is_bad = what_came in ("runner_on_failed", "runner_on_unreachable") and not data.get("ignore_errors")
        if not is_bad:
            has_run = has_run or what_came in ("runner_on_ok", "runner_on_failed")
            continue
        host, result = str(data.get("host", "")), data.get("res", {})
        if what_came == "runner_on_unreachable" and host in guests and not has_run:
            return guests[host].refusal(str(result.get("msg", "")))
        said = result.get("stderr") or result.get("msg") or json.dumps(result)
        words = " ".join(str(said).split())[:200]
        return Permanent(
            f"{what} failed in task {data.get('task', '')!r} on {host}: {words}", hint="look at the playbook's task"
        )
    return Permanent(f"{what} ended {done.status}", hint="look at the playbook")
