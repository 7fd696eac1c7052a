"""What is remembered of KVM: tried once, by one process at a time."""

import subprocess
import sys
from pathlib import Path

import pytest

from manor.api import CallContext
from manor.errors import DeadlineExceeded
from manor_vim_libvirt.accel import Truth, Truths

TRIES = """
import sys
from pathlib import Path
from manor.api import CallContext
from manor_vim_libvirt.accel import Truth, Truths

def trial():
    print("tries", flush=True)
    sys.stdin.readline()
    return Truth(accelerator="kvm", reason="told by the other", identity="qemu 7")

Truths(Path(sys.argv[1])).found("kvm1", "qemu 7", trial, CallContext.within(60))
print("done", flush=True)
sys.stdin.readline()
"""


def own_trial() -> Truth:
    return Truth(accelerator="tcg", reason="tried here", identity="qemu 7")


def test_two_processes_do_not_try_at_once_and_the_second_takes_the_firsts_word(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", TRIES, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "tries\n"
        with pytest.raises(DeadlineExceeded, match="another call or process"):
            Truths(tmp_path).found("kvm1", "qemu 7", own_trial, CallContext.within(0.2))
        other.stdin.write("\n")
        assert other.stdout.readline() == "done\n"
        truth = Truths(tmp_path).found("kvm1", "qemu 7", own_trial, CallContext.within(60))
        assert truth.reason == "told by the other"
        other.stdin.write("\n")


def test_who_is_killed_over_it_holds_up_nobody(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", TRIES, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "tries\n"
        other.kill()
    assert Truths(tmp_path).found("kvm1", "qemu 7", own_trial, CallContext.within(60)).accelerator == "tcg"
    assert Truths(tmp_path).recall("kvm1", "qemu 8") is None
