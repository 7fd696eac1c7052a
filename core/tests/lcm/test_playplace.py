"""A playbook's directory holds secrets: it goes with its process, however that ends."""

import subprocess
import sys
from pathlib import Path

from manor.lcm.playplace import place, sweep

PLAYING = """
import sys
from pathlib import Path
from manor.lcm.playplace import place
with place(Path(sys.argv[1])) as where:
    where.joinpath("extravars").write_text("token: wadi")
    print(where, flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_process_left_is_swept_and_what_is_played_stays(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PLAYING, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        left = Path(process.stdout.readline().strip())
        assert sweep(tmp_path) == 0
        assert left.joinpath("extravars").exists()
        assert left.stat().st_mode & 0o077 == 0
        process.kill()
    with place(tmp_path) as mine:
        assert sweep(tmp_path) == 1
        assert not left.exists()
        assert mine.exists()
    assert not mine.exists()
    assert sweep(tmp_path) == 0
