"""A task's process ends when its work is done, with what it said written."""

import subprocess
import sys
from pathlib import Path

_SCRIPT = """
import atexit, sys
from tunelane_components.leaving import leave_quickly

class Slow:
    def __init__(self):
        self.me = self

    def __del__(self):
        print("collected", flush=True)

leave_quickly()
kept = Slow()
with open(sys.argv[1], "w") as file:
    file.write("buffered")
atexit.register(print, "said at exit")
if len(sys.argv) > 2:
    sys.exit(int(sys.argv[2]))
print("done")
"""


def _run(path: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", _SCRIPT, str(path), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_was_said_is_written_and_nothing_is_collected(tmp_path: Path) -> None:
    finished = _run(tmp_path / "file")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout == "done\nsaid at exit\n", "a cycle was looked at once more"
    assert (tmp_path / "file").read_text() == "buffered"


def test_the_exit_code_stays(tmp_path: Path) -> None:
    assert _run(tmp_path / "file", "7").returncode == 7
