"""The command line as a process: what it loads, what it lists, how it ends."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from manor.cli import main
from manor.cli.root import BUILTIN, hoist

HEAVY = ("sqlmodel", "sqlalchemy", "dbos", "pydantic", "rich", "libvirt", "sklearn", "numpy", "ryu", "os_ken")
PLAIN = "import sys; from manor.cli import main; sys.exit(main(sys.argv[1:]))"
RUN = """\
import sys
from manor.cli import main
code = main(sys.argv[1:])
print(*sorted(sys.modules), file=sys.stderr)
sys.exit(code)
"""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MANOR_", "_MANOR"))}
    return {**kept, "MANOR_HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "cache")}


def run(*args: str, env: Mapping[str, str], code: str = RUN) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *args], env=env, capture_output=True, text=True, timeout=120)


def heavy(done: subprocess.CompletedProcess[str]) -> list[str]:
    loaded = {name.partition(".")[0] for name in done.stderr.splitlines()[-1].split()}
    return [name for name in HEAVY if name in loaded]


def test_help_lists_everything_and_loads_nothing_heavy(env: dict[str, str]) -> None:
    run("--help", env=env)  # fills the cache of plugin commands
    done = run("--help", env=env)
    assert done.returncode == 0
    assert all(f"  {name} " in done.stdout for name in BUILTIN)
    assert heavy(done) == []


@pytest.mark.parametrize("group", sorted(BUILTIN))
def test_every_command_can_be_asked_for_help(capsys: pytest.CaptureFixture[str], group: str) -> None:
    assert main([group, "--help"]) == 0
    assert capsys.readouterr().out.startswith("Usage: manor " + group)


@pytest.mark.parametrize(
    ("words", "offers"), [("manor ", "package"), ("manor ns ", "instantiate"), ("manor ns show ", "")]
)
def test_completion_loads_nothing_heavy(env: dict[str, str], words: str, offers: str) -> None:
    run("--help", env=env)
    asked = {"_MANOR_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()))}
    done = run(env={**env, **asked})
    assert done.returncode == 0
    assert offers in done.stdout
    assert heavy(done) == []


def test_a_quick_list_loads_no_orm_and_no_pydantic(env: dict[str, str]) -> None:
    done = run("--json", "ns", "list", "--limit", "5", env=env)
    assert json.loads(done.stdout) == []
    assert heavy(done) == []


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["pakage"], "did you mean 'package'"),
        (["ns", "shw"], "did you mean 'show'"),
        (["ns", "show"], "missing argument"),
        (["--frobnicate"], "no such option"),
        (["ns", "list", "--limit", "many"], "'many' is not a whole number"),
        (["ns", "topology", "x", "--format", "gif"], "it takes ascii, svg, mermaid, json"),
        (["ns", "show", "nothing"], "no service is called 'nothing'"),
        (["vim", "add", "x1", "--driver", "nope"], ""),
    ],
)
def test_what_is_typed_wrong_is_one_line_and_a_hint(env: dict[str, str], args: list[str], says: str) -> None:
    done = run(*args, env=env, code=PLAIN)
    assert done.returncode == (7 if "vim" in args else 2)
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[0].startswith("error: ")
    assert says in lines[0].lower()
    assert lines[1].startswith("hint: ")
    assert "Traceback" not in done.stderr


def test_the_same_in_json(env: dict[str, str]) -> None:
    done = run("ns", "show", "nothing", "--json", env=env)
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["code"], error["class"]) == (2, 2, "UsageError")


def test_a_bug_says_that_it_is_one(env: dict[str, str]) -> None:
    broken = "import sys, manor.cli.markers; manor.store = None; from manor.cli import main; import manor.cli.find\n"
    broken += "manor.cli.find.find_ns = lambda *_: 1 / 0; sys.exit(main(sys.argv[1:]))"
    done = run("ns", "show", "x", env=env, code=broken)
    assert done.returncode == 70
    assert done.stderr == (
        "error: this is a bug in Manor: ZeroDivisionError: division by zero\nhint: run it again with -v to see where\n"
    )
    assert "Traceback" in run("-v", "ns", "show", "x", env=env, code=broken).stderr


def test_a_reader_that_goes_away_is_no_error(env: dict[str, str]) -> None:
    done = run("--help", env=env, code="import os; r, w = os.pipe(); os.close(r); os.dup2(w, 1)\n" + PLAIN)
    assert (done.returncode, done.stderr) == (141, "")


EARLY = """
import sys
class Impatient:
    def find_spec(self, name, path, target=None):
        if name == "manor.cli.root":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Impatient())
"""


def test_ctrl_c_before_it_has_started_is_no_traceback(env: dict[str, str]) -> None:
    done = run("ns", "list", env=env, code=EARLY + PLAIN)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_closed_streams_are_no_error(env: dict[str, str]) -> None:
    closed = (
        "import os; os.close(0); os.close(1); os.execv(sys.executable, [sys.executable, '-c', CODE, *sys.argv[1:]])"
    )
    done = run("ns", "list", env=env, code=f"import sys\nCODE = {PLAIN!r}\n{closed}")
    assert (done.returncode, done.stdout) == (0, "")
    assert "Traceback" not in done.stderr


def test_a_full_disk_behind_stdout_is_told_once(env: dict[str, str]) -> None:
    done = run("--help", env=env, code="import os; os.dup2(os.open('/dev/full', os.O_WRONLY), 1)\n" + PLAIN)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "error: No space left on device"
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["ns"], "Show a service: its VNFs, where their machines run, their"),
        (["package", "validate"], "manor package validate [OPTIONS] PATH...\n"),
        (["chain", "show"], "manor chain show [OPTIONS] NS[/CHAIN] [CHAIN]\n"),
        (["vnf", "exec"], "NS/VNF[/VNFC] -- PROGRAM [ARG]...\n"),
        (["ns", "plan"], "--operation instantiate|terminate|repair\n"),
        (["vim", "add"], "manor vim add [OPTIONS] NAME\n"),
        (["sdn"], "Forget a controller, ending its agent."),
    ],
)
def test_help_is_in_the_words_of_the_field(capsys: pytest.CaptureFixture[str], args: list[str], says: str) -> None:
    assert main([*args, "--help"]) == 0
    text = capsys.readouterr().out
    assert says in text
    for pythonic in ("<str>", "<int", "list[", "{", "...\n  "):
        assert pythonic not in text


@pytest.mark.parametrize(
    ("argv", "hoisted"),
    [
        (["ns", "list", "--json"], ["--json", "ns", "list"]),
        (["package", "validate", "-vv", "x"], ["-vv", "package", "validate", "x"]),
        (["vnf", "exec", "a/b", "--", "ls", "--json", "-v"], ["vnf", "exec", "a/b", "--", "ls", "--json", "-v"]),
        (["stranger", "-v", "--json"], ["stranger", "-v", "--json"]),
        ([], []),
    ],
)
def test_output_flags_may_stand_anywhere(argv: Sequence[str], hoisted: Sequence[str]) -> None:
    assert hoist(argv) == hoisted


PLUGIN = """
from manor.api import CliCommand, hookimpl

@hookimpl
def manor_cli_commands():
    yield CliCommand(name="hello", help="Say hello", target="acme_hello_app:app")
    yield CliCommand(name="broken", help="Cannot be loaded", target="acme_missing:app")
    yield CliCommand(name="ns", help="Tries to hide Manor's own", target="acme_hello_app:app")
"""
APP = """
import typer
app = typer.Typer()

@app.command()
def world(loud: bool = typer.Option(False, "-v")) -> None:
    print("HELLO" if loud else "hello")

@app.command()
def other() -> None: ...
"""


@pytest.fixture
def installed(tmp_path: Path, env: dict[str, str]) -> dict[str, str]:
    site = tmp_path / "site"
    (site / "acme_hello-1.2.dist-info").mkdir(parents=True)
    (site / "acme_hello-1.2.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: acme-hello\nVersion: 1.2\n"
    )
    (site / "acme_hello-1.2.dist-info" / "entry_points.txt").write_text("[manor.plugins.v1]\nacme = acme_hello\n")
    (site / "acme_hello.py").write_text(PLUGIN)
    (site / "acme_hello_app.py").write_text(APP)
    return {**env, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}


def test_a_plugins_command_is_listed_without_being_imported_and_runs(installed: dict[str, str]) -> None:
    run("--help", env=installed)
    done = run("--help", env=installed)
    assert "Commands of plugins" in done.stdout
    assert "Say hello" in done.stdout
    assert "Tries to hide" not in done.stdout
    assert "acme_hello" not in done.stderr
    done = run("hello", "world", "-v", env=installed)
    assert (done.returncode, done.stdout) == (0, "HELLO\n")
    done = run("doctor", "--only", "plugins", env=installed)
    assert "the command 'ns' of acme is hidden by Manor's own" in done.stdout


def test_a_plugins_command_that_cannot_load_is_the_plugins_fault(installed: dict[str, str]) -> None:
    done = run("broken", env=installed, code=PLAIN)
    assert done.returncode == 7
    assert done.stderr.startswith("error: the command 'broken' of acme (acme-hello 1.2) cannot be loaded: No module")


def test_a_plugin_that_goes_is_gone_from_the_help(installed: dict[str, str], tmp_path: Path) -> None:
    assert "Say hello" in run("--help", env=installed).stdout
    (tmp_path / "site" / "acme_hello-1.2.dist-info" / "entry_points.txt").unlink()
    (tmp_path / "site" / "acme_hello-1.2.dist-info" / "METADATA").unlink()
    (tmp_path / "site" / "acme_hello-1.2.dist-info").rmdir()
    assert "Say hello" not in run("--help", env=installed).stdout
