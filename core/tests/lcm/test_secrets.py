"""A secret is where it is needed for one call, and nowhere else: not in the database, a plan, a log or an error."""

import dataclasses
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from service_world import VNFDS, Site, opened
from sqlalchemy import MetaData, Table, inspect

from manor.api import GuestResult, OperationKind, VnfcView, VnfView
from manor.errors import PlanRefused, UsageError
from manor.lcm import changing, ns
from manor.lcm.bootdata import boot_data
from manor.lcm.plans import plan_to_json
from manor.lcm.updating import change_package, update
from manor.model.instance import OperationState
from manor.model.vnfd import LcmScript, VnfAction, Vnfd
from manor.plugin import unguarded
from manor.secrets import hide, token_of, tokens_in
from manor.vnfm.generic import GenericVnfm

SECRET = "correct-horse-battery"
FILE = "vmlinuz"


def secretive(boot_data: str) -> Vnfd:
    """A newer web server with this boot data and one action."""
    old = VNFDS["web-vnfd"]
    (df,) = old.flavours
    df = dataclasses.replace(df, vdus=(dataclasses.replace(df.vdus[0], boot_data=boot_data),))
    action = VnfAction(name="rotate", script=FILE, dsl=".sh", inputs={"password": None})
    return dataclasses.replace(old, id="web-vnfd-2", version="2", flavours=(df,), actions=(action,))


@pytest.fixture
def site(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with opened(fast_path, monkeypatch) as site:
        yield site


@pytest.fixture
def token(fast_path: Path) -> str:
    file = fast_path / "password"
    file.write_text(f"{SECRET}\n")
    file.chmod(0o600)
    return token_of(str(file))


class Inside:
    """Guests that repeat what they are told."""

    def __init__(self, site: Site, exit_code: int = 0) -> None:
        self.heard: list[str] = []
        self.exit_code = exit_code
        unguarded(site.rt.vim("lab"))._guest_script = self  # type: ignore[attr-defined]

    def __call__(self, _key: str, _argv: Sequence[str], stdin: bytes) -> GuestResult:
        self.heard.append(stdin.decode())
        return GuestResult(exit_code=self.exit_code, stdout=b"", stderr=stdin)


def files_with(secret: str, *roots: Path) -> list[str]:
    return [str(p) for root in roots for p in root.rglob("*") if p.is_file() and secret.encode() in p.read_bytes()]


def rows_with(secret: str, site: Site) -> list[str]:
    """Tables of whatever database it is, ours and the queue's, that have it in a row."""
    found = []
    with site.rt.store.read() as tx:
        looked_at = inspect(tx)
        for schema in looked_at.get_schema_names():
            if schema == "information_schema":
                continue
            for name in looked_at.get_table_names(schema=schema):
                rows = tx.execute(Table(name, MetaData(), schema=schema, autoload_with=tx).select())
                found += [f"{schema}.{name}" for row in rows if secret in repr(tuple(row))]
    return found


def test_it_reaches_the_machine_and_is_kept_nowhere(
    site: Site, token: str, fast_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    site.onboard(secretive("#!/bin/sh\nlogin {{ password }}\n"))
    site.done(update(site.rt, "demo", parameters={"password": token}))
    proposal = change_package(site.rt, "demo", "web", "web-vnfd-2")
    inside = Inside(site)
    site.done(proposal)
    assert token in json.dumps(plan_to_json(proposal.plan))
    assert SECRET not in json.dumps(plan_to_json(proposal.plan))
    site.done(changing.act(site.rt, "demo", "web", "rotate", {"password": token}))
    assert f"export password={SECRET}\n" in inside.heard[-1]
    assert site.drift() == ()
    assert SECRET not in caplog.text
    assert files_with(SECRET, fast_path) == [str(fast_path / "password")]
    assert rows_with(SECRET, site) == []
    assert rows_with(token, site), "what stands for it is found: so would it be"


@pytest.mark.parametrize(
    "altered",
    ["{{ password | upper }}", "{{ password | lower }}", "{{ password[:8] }}", "{{ password | urlencode }}",
     "{{ keys.old | reverse }}"],
)  # fmt: skip
def test_a_template_that_alters_it_is_refused_with_the_plan(altered: str) -> None:
    token, vnfc = "@secret:/run/password@", VnfcView(key="n", name="main-0", vdu_id="main", index=0)
    parameters = {"password": token, "keys": {"old": token}}
    template = f"#!/bin/sh\nlogin {altered}\n"
    view = VnfView(
        id="v",
        name="web",
        service="demo",
        vnfd_id="d",
        flavour_id="",
        vnfcs=(vnfc,),
        parameters=parameters,
        boot_templates={"main": template},
    )
    with pytest.raises(PlanRefused) as refused:
        boot_data(GenericVnfm(), view, vnfc)
    name = "keys" if "keys" in altered else "password"
    assert refused.value.message == f"boot data of web, VDU main: it alters {name}, which is a secret"
    assert f"say {{{{ {name} }}}} alone" in refused.value.hint
    plain = "{{ password | tojson }}{% if keys %} -k '{{ keys.old | trim }}'{% endif %}"
    whole = dataclasses.replace(view, boot_templates={"main": plain})
    assert boot_data(GenericVnfm(), whole, vnfc).user_data == f"\"{token}\" -k '{token}'"


def test_one_that_the_boot_data_of_a_service_alters_is_refused_before_anything_is_done(site: Site, token: str) -> None:
    site.onboard(secretive("#!/bin/sh\nlogin {{ password | upper }}\n"))
    site.done(update(site.rt, "demo", parameters={"password": token}))
    with pytest.raises(PlanRefused, match="it alters password"):
        change_package(site.rt, "demo", "web", "web-vnfd-2")


def test_an_error_does_not_tell_it(site: Site, token: str, fast_path: Path) -> None:
    site.onboard(secretive(""))
    site.done(change_package(site.rt, "demo", "web", "web-vnfd-2"))
    Inside(site, exit_code=1)
    operation = site.run(changing.act(site.rt, "demo", "web", "rotate", {"password": token}))
    assert "export password=***" in operation.error
    assert files_with(SECRET, fast_path) == [str(fast_path / "password")]
    assert rows_with(SECRET, site) == []


def test_a_package_gets_no_file_that_it_names_itself(site: Site, fast_path: Path) -> None:
    other = fast_path / "shadow"
    other.write_text("root:x")
    other.chmod(0o600)
    site.onboard(secretive(f"#!/bin/sh\n{token_of(str(other))}\n"))
    operation = site.run(change_package(site.rt, "demo", "web", "web-vnfd-2"))
    assert operation.state is OperationState.ROLLED_BACK
    assert "is no secret of this service" in operation.error


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(SECRET)
    file.chmod(0o640)
    with pytest.raises(UsageError) as refused:
        token_of(str(file))
    assert SECRET not in refused.value.message
    assert refused.value.hint == f"chmod 600 {file}"


def test_a_secret_that_is_gone_fails_the_step_before_anything_is_done(site: Site, token: str) -> None:
    site.onboard(secretive("#!/bin/sh\nlogin {{ password }}\n"))
    site.done(update(site.rt, "demo", parameters={"password": token}))
    proposal = change_package(site.rt, "demo", "web", "web-vnfd-2")
    Path(token.removeprefix("@secret:").removesuffix("@")).unlink()
    operation = site.run(proposal)
    assert operation.state is OperationState.ROLLED_BACK
    assert "cannot read the secret" in operation.error
    assert ns.propose(site.rt, "demo", OperationKind.REPAIR).plan.steps == ()


def test_what_is_forgiven_tells_no_secret_either(site: Site, token: str, caplog: pytest.LogCaptureFixture) -> None:
    script = LcmScript(event="terminate_start", script=FILE, dsl=".sh", inputs={"password": token})
    site.onboard(dataclasses.replace(secretive(""), scripts=(script,)))
    site.done(update(site.rt, "demo", parameters={"password": token}))
    site.done(change_package(site.rt, "demo", "web", "web-vnfd-2"))
    inside = Inside(site, exit_code=1)
    assert site.run(ns.propose(site.rt, "demo", OperationKind.TERMINATE)).state is OperationState.COMPLETED
    assert SECRET in inside.heard[-1]
    assert "it goes without" in caplog.text
    assert SECRET not in caplog.text


def test_a_secret_that_is_gone_holds_up_no_terminate(site: Site, token: str) -> None:
    script = LcmScript(event="terminate_start", script=FILE, dsl=".sh", inputs={"password": token})
    site.onboard(dataclasses.replace(secretive(""), scripts=(script,)))
    site.done(update(site.rt, "demo", parameters={"password": token}))
    site.done(change_package(site.rt, "demo", "web", "web-vnfd-2"))
    Path(token.removeprefix("@secret:").removesuffix("@")).unlink()
    assert site.run(ns.propose(site.rt, "demo", OperationKind.TERMINATE)).state is OperationState.COMPLETED


def test_tokens_are_found_however_deep() -> None:
    assert tokens_in({"a": ["x @secret:/k@ y", {"b": "@secret:/l@"}]}, "@secret:relative@") == {
        "@secret:/k@",
        "@secret:/l@",
    }


@pytest.mark.parametrize(
    "as_written",
    [
        'it\'s "so"  long',
        'it\'s \\"so\\"  long',
        'it\'s "so" long',
        """'it'"'"'s "so"  long'""",
        """'it'"'"'s "so" long'""",
        'it\'s \\\\\\"so\\\\\\"  long',
        'it\\\'s "so"  long',
    ],
)
def test_it_is_hidden_however_it_is_repeated(as_written: str) -> None:
    assert hide(f"no {as_written} here", ['it\'s "so"  long']) == "no *** here"
