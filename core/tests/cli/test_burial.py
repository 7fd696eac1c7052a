"""Dead processes that nobody buries are told of."""

import subprocess
import sys

ADOPTING = """\
import ctypes
from manor.api import CallContext
from manor.cli import burial
assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER
burial._MOST_S = 0.55
print(*(finding.message for finding in burial.burial_check().check(CallContext.within(60))))
"""


def test_who_adopts_orphans_and_never_asks_for_them_is_named() -> None:
    """As a poor process 1 of a container."""
    with subprocess.Popen([sys.executable, "-c", ADOPTING], stdout=subprocess.PIPE, text=True) as process:
        said, _ = process.communicate(timeout=120)
    assert said.startswith(f"process {process.pid} (")
    assert "machines' deaths are told that late" in said
