"""The generic manager: day 0 from templates that may be hostile, health from the guests' own word."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from manor.api.context import CallContext
from manor.api.vim import GuestResult
from manor.api.vnfm import Script, VnfcView, VnfView
from manor.errors import Permanent, PlanRefused, Transient
from manor.vnfm.generic import GenericVnfm

VNFC = VnfcView(key="s/vnf/web/main-0", name="web-main-0", vdu_id="main", index=0, addresses={"eth": ("10.0.0.5/24",)})

SLOW = pytest.mark.slow


def view(template: str = "", **more: object) -> VnfView:
    return VnfView(
        id="s/vnf/web",
        name="web",
        service="demo",
        vnfd_id="web",
        flavour_id="d",
        vnfcs=(VNFC,),
        boot_templates={"main": template},
        **more,  # type: ignore[arg-type]
    )


class Inside:
    """A guest that answers as told."""

    def __init__(self, *, answers: bool = True, exit_code: int = 0) -> None:
        self.answers = answers
        self.exit_code = exit_code
        self.ran: list[tuple[str, ...]] = []

    def ping(self, ctx: CallContext) -> bool:
        if not self.answers:
            raise Transient("no agent yet")
        return True

    def run(self, argv: Sequence[str], ctx: CallContext, *, stdin: bytes = b"") -> GuestResult:
        self.ran.append(tuple(argv))
        return GuestResult(exit_code=self.exit_code, stdout=b"", stderr=b"no such thing")


def test_a_template_gets_parameters_addresses_and_names() -> None:
    text = "hostname: {{ vnf_name }}\nip: {{ addresses.eth[0] }}\ncolour: {{ colour }}\n"
    rendered = GenericVnfm().boot_data(view(text, parameters={"colour": "red"}), VNFC)
    assert rendered.user_data == "hostname: web\nip: 10.0.0.5/24\ncolour: red\n"


def test_text_without_a_template_is_left_alone() -> None:
    script = "#!/bin/sh\necho ${HOME} {not a template}\n"
    assert GenericVnfm().boot_data(view(script), VNFC).user_data == script


@pytest.mark.parametrize(
    "text",
    ["{{ missing }}", "{% for %}", "{{ ''.__class__.__mro__[1].__subclasses__() }}", "{% include '/etc/passwd' %}"],
)
def test_broken_and_hostile_templates_are_refused(text: str) -> None:
    with pytest.raises(PlanRefused, match="web"):
        GenericVnfm().boot_data(view(text), VNFC)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", marks=SLOW),
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(900) }}",
        "{{ 'a' * 10 ** 12 }}",
        pytest.param("{{ 'a' | center(10 ** 12) }}", marks=SLOW),
        pytest.param(
            "{% set x = namespace(t='ab') %}{% for i in range(60) %}{% set x.t = x.t ~ x.t %}{% endfor %}{{ x.t }}",
            marks=SLOW,
        ),
        pytest.param(f"{{{{ '{'y' * 20_000}' | join('{'x' * 1000}') }}}}", marks=SLOW),
        f"{{{{ {'(' * 5000}1{')' * 5000} }}}}",
        f"{'x' * 1000}{{{{ vnf_name }}}}" * 1040,
    ],
    ids=["loops", "calls", "product", "filter", "doubling", "join", "depth", "length"],
)
def test_a_template_that_wants_too_much_is_refused(text: str) -> None:
    with pytest.raises(PlanRefused, match="boot data of web, VDU main"):
        GenericVnfm().boot_data(view(text), VNFC)


def test_a_template_may_loop_and_compute() -> None:
    text = "{% for a in addresses.eth %}{{ loop.index }}={{ a.split('/')[0] }},{{ n + 1 }}\n{% endfor %}"
    assert GenericVnfm().boot_data(view(text, parameters={"n": 4}), VNFC).user_data == "1=10.0.0.5,5\n"
    text = (
        "{% if on is defined and n > 3 %}{{ on | default('x') }}{% else %}{{ addresses.eth | join(', ') }}{% endif %}"
    )
    assert GenericVnfm().boot_data(view(text, parameters={"n": 4}), VNFC).user_data == "10.0.0.5/24"


def test_health_is_what_the_guests_say() -> None:
    ctx = CallContext.within(5)
    assert GenericVnfm().health(view(), {VNFC.key: Inside()}, ctx).ready
    silent = GenericVnfm().health(view(), {VNFC.key: Inside(answers=False)}, ctx)
    assert not silent.ready
    assert silent.reason == "no answer from main-0: no agent yet"


def test_a_failing_day_1_command_names_machine_command_and_output() -> None:
    guest = Inside(exit_code=3)
    with pytest.raises(Permanent, match=r"web-main-0: setup exited 3: no such thing"):
        GenericVnfm().configure(view(day1={"main": (("setup", "-x"),)}), {VNFC.key: guest}, CallContext.within(5))
    assert guest.ran == [("setup", "-x")]


class Shell:
    """A guest that runs what it is told, here."""

    def run(self, argv: Sequence[str], ctx: CallContext, *, stdin: bytes = b"") -> GuestResult:
        done = subprocess.run(argv, input=stdin, capture_output=True, check=False, timeout=30)
        return GuestResult(exit_code=done.returncode, stdout=done.stdout, stderr=done.stderr)


@pytest.mark.parametrize(
    "text",
    ["cat >/dev/null\nexit 3", "cat <<END\nexit 0\nEND\nread line || exit 3\n", "# nothing\n\n(exit 3)", "exit 3 # }"],
)
def test_a_script_is_run_to_its_end_though_something_in_it_reads(text: str) -> None:
    script = Script(name="scale_end", kind=".sh", content=text, parameters={"a": "it's"})
    with pytest.raises(Permanent, match="scale_end exited 3"):
        GenericVnfm().run_script(view(), {VNFC.key: Shell()}, script, CallContext.within(30))  # type: ignore[dict-item]


def test_a_script_that_is_cut_off_on_its_way_does_nothing(tmp_path: Path) -> None:
    heard: list[bytes] = []

    class Ear(Inside):
        def run(self, argv: Sequence[str], ctx: CallContext, *, stdin: bytes = b"") -> GuestResult:
            heard.append(stdin)
            return GuestResult(exit_code=0, stdout=b"", stderr=b"")

    script = Script(name="x", kind=".sh", content=f"touch {tmp_path}/half\ntouch {tmp_path}/whole\n", parameters={})
    GenericVnfm().run_script(view(), {VNFC.key: Ear()}, script, CallContext.within(30))
    half = heard[0][: heard[0].index(b"half") + 5]
    assert subprocess.run(["/bin/sh", "-s"], input=half, capture_output=True, check=False).returncode != 0
    assert list(tmp_path.iterdir()) == []
