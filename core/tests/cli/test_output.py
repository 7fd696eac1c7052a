import errno
import io
import json
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import pytest

from manor import errors
from manor.api import Finding, Severity
from manor.cli.exits import ExitCode, exit_code
from manor.cli.jsonable import jsonable
from manor.cli.output import Output, printable


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Thing:
    name: str
    colour: Colour
    parts: tuple[int, ...] = ()


def output(**kwargs: object) -> tuple[Output, io.StringIO, io.StringIO]:
    out, err = io.StringIO(), io.StringIO()
    return Output(stdout=out, stderr=err, **kwargs), out, err  # type: ignore[arg-type]


def test_json_is_the_only_thing_on_stdout() -> None:
    out, stdout, stderr = output(json=True)
    out.note("by the way")
    out.warn("beware")
    out.result(Thing("a", Colour.RED, (1,)), lambda: pytest.fail("nobody reads this"))
    assert json.loads(stdout.getvalue()) == {"name": "a", "colour": "red", "parts": [1]}
    assert stderr.getvalue() == "by the way\nwarning: beware\n"


def test_text_that_no_terminal_or_encoding_takes_is_still_json() -> None:
    out, stdout, _ = output(json=True)
    out.result({"path": "bad\udcff", "esc": "\x1b[31m"}, lambda: None)
    assert json.loads(stdout.getvalue()) == {"path": "bad\udcff", "esc": "\x1b[31m"}
    assert stdout.getvalue().isascii()


def test_a_table_in_a_pipe_is_aligned_text_without_a_frame() -> None:
    out, stdout, _ = output()
    out.table(("name", "size"), [("a" * 200, 5), ("b", 1000)], right=("size",))
    lines = stdout.getvalue().splitlines()
    assert lines[0].split() == ["name", "size"]
    assert lines[1] == "a" * 200 + "     5"
    assert lines[2].split() == ["b", "1000"]
    assert not any(line.endswith(" ") for line in lines)


def test_an_empty_table_says_so_beside_the_result() -> None:
    out, stdout, stderr = output()
    out.table(("name",), [], empty="no thing yet")
    assert (stdout.getvalue(), stderr.getvalue()) == ("", "no thing yet\n")


def test_names_cannot_drive_the_terminal_or_rich() -> None:
    out, stdout, _ = output()
    out.table(("name",), [("[bold]\x1b[2Jevil\x07[/bold]",)])
    assert stdout.getvalue().splitlines()[1] == "[bold]\\x1b[2Jevil\\x07[/bold]"
    assert printable("a\tb\nc\x9b") == "a\tb\nc\\x9b"
    assert printable("fee\u202eeerf\u2028ok") == "fee\\u202eeerf\\u2028ok"


def test_an_error_is_one_line_and_a_hint() -> None:
    out, stdout, stderr = output()
    out.error(errors.UsageError("no\nsuch thing", hint="try another"), ExitCode.USAGE)
    assert (stdout.getvalue(), stderr.getvalue()) == ("", "error: no such thing\nhint: try another\n")


def test_findings_stand_above_the_error() -> None:
    out, _, stderr = output()
    finding = Finding(severity=Severity.ERROR, code="x-y", message="bad", file="a.yaml", line=3, column=7, hint="mend")
    out.error(errors.DescriptorError("refused", findings=[finding]), ExitCode.DESCRIPTOR)
    assert stderr.getvalue() == "a.yaml:3:7: error: bad [x-y]\n    hint: mend\nerror: refused\n"


def test_an_error_in_json_is_a_document_and_a_second_one_does_not_spoil_the_result() -> None:
    out, stdout, stderr = output(json=True)
    out.error(errors.OperationFailed("it broke", operation_id="op1"), ExitCode.OPERATION)
    error = json.loads(stdout.getvalue())["error"]
    assert (error["code"], error["class"], error["operation_id"]) == (5, "OperationFailed", "op1")
    out.result({}, lambda: None)
    before = stdout.getvalue()
    out.error(errors.UsageError("again"), ExitCode.USAGE)
    assert stdout.getvalue() == before
    assert json.loads(stderr.getvalue())["error"]["message"] == "again"


def test_the_traceback_comes_only_when_asked_for() -> None:
    for verbosity, shown in ((0, False), (1, True)):
        out, _, stderr = output(verbosity=verbosity)
        try:
            raise KeyError("oops")
        except KeyError as error:
            out.error(error, exit_code(error))
        assert ("Traceback" in stderr.getvalue()) is shown
        assert "this is a bug in Manor: KeyError: 'oops'" in stderr.getvalue()


def test_nobody_to_answer_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    out, _, _ = output()
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(errors.UsageError) as caught:
        out.confirm("Do it?")
    assert "--yes" in caught.value.hint


def test_a_document_goes_to_a_file_or_says_why_not(tmp_path: Path) -> None:
    out, stdout, _ = output()
    out.document("<svg/>\n", tmp_path / "a.svg")
    assert ((tmp_path / "a.svg").read_text(), stdout.getvalue()) == ("<svg/>\n", "")
    with pytest.raises(errors.UsageError, match="No such file"):
        out.document("x", tmp_path / "not" / "there")


def test_every_error_has_its_code() -> None:
    wanted = {"OperationFailed": {"operation_id": "1"}, "Unreachable": {"hosts": {}}}
    codes = {name: exit_code(getattr(errors, name)("x", **wanted.get(name, {}))) for name in errors.__all__}
    assert codes["UsageError"] == 2
    assert codes["DescriptorError"] == 3
    assert codes["PlanRefused"] == 4
    assert codes["OperationFailed"] == 5
    assert {codes[n] for n in ("Transient", "Conflict", "NotFound", "DeadlineExceeded")} == {ExitCode.DRIVER}
    assert codes["PluginConflict"] == ExitCode.PLUGIN
    assert codes["Fenced"] == ExitCode.STORE
    assert codes["ManorError"] == ExitCode.GENERAL
    assert ExitCode.BUG not in codes.values()
    assert exit_code(ValueError()) == ExitCode.BUG


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "error: No space left on device\nhint: free some space"),
        (
            PermissionError(errno.EACCES, "Permission denied", "/home/x"),
            "error: /home/x: Permission denied\nhint: run it",
        ),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "/dev/null/x"), "error: /dev/null/x: Not a directory\n"),
    ],
)
def test_what_the_machine_refuses_is_no_bug(error: OSError, says: str) -> None:
    out, _, stderr = output()
    out.error(error, exit_code(error))
    assert exit_code(error) is ExitCode.GENERAL
    assert stderr.getvalue().startswith(says)


def test_an_error_without_a_place_is_still_a_bug() -> None:
    assert exit_code(OSError("odd")) is ExitCode.BUG
    assert exit_code(FileNotFoundError(errno.ENOENT, "No such file or directory")) is ExitCode.BUG


def test_what_has_no_json_form_is_refused_loudly() -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        jsonable({"a": object()})
