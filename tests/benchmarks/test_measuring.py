import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.scale.measuring import Measured, disk_of, measure

MB = 10**6
PLENTY = 10**12
# What it costs is the child's of the command, which itself does nothing but wait.
COMMAND = "import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', sys.argv[1]]).returncode)"


def _measured(program: str, directory: Path, limit_bytes: int = PLENTY) -> Measured:
    return measure([sys.executable, "-c", COMMAND, program], directory, limit_bytes=limit_bytes)


def test_memory_of_a_grandchild_counts(tmp_path: Path) -> None:
    idle = _measured("import time; time.sleep(2)", tmp_path / "idle")
    # Held for long: a machine that has more to do looks at it seldom.
    full = _measured("import time; held = b'x' * 200_000_000; time.sleep(3)", tmp_path / "full")
    assert full.outcome == idle.outcome == "done"
    assert full.peak_memory_bytes - idle.peak_memory_bytes == pytest.approx(200 * MB, rel=0.05)


def test_pages_of_mapped_files_are_counted_apart(tmp_path: Path) -> None:
    (tmp_path / "mapped").write_bytes(b"x" * 100 * MB)
    program = f"""if True:
        import mmap, time
        with open({str(tmp_path / "mapped")!r}, "rb") as stream:
            held = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            held.find(b"y")
            time.sleep(2)"""
    measured = _measured(program, tmp_path / "work")
    assert measured.peak_mapped_bytes > 100 * MB
    assert measured.peak_memory_bytes < 60 * MB


def test_processor_time_of_a_grandchild_counts_and_waiting_does_not(tmp_path: Path) -> None:
    program = "import time; end = time.process_time() + 0.6\nwhile time.process_time() < end: pass\ntime.sleep(1)"
    measured = _measured(program, tmp_path)
    assert 0.6 <= measured.cpu_s < 1.4
    assert measured.wall_s >= 1.6


def test_what_was_removed_again_counts_for_the_peak_of_the_disk(tmp_path: Path) -> None:
    program = """if True:
        import os, tempfile, time
        with tempfile.NamedTemporaryFile() as stream:
            stream.write(os.urandom(20_000_000))
            stream.flush()
            time.sleep(2)"""
    measured = _measured(program, tmp_path)
    assert measured.peak_disk_bytes == pytest.approx(20 * MB, rel=0.05)
    assert measured.left_disk_bytes < MB


def test_whoever_takes_too_much_is_ended_with_all_its_processes(tmp_path: Path) -> None:
    program = "import time; held = b'x' * 200_000_000; time.sleep(60)"
    measured = _measured(program, tmp_path, limit_bytes=100 * MB)
    assert measured.outcome == "out of memory"
    assert measured.wall_s < 30
    end_s = time.monotonic() + 20
    # The kernel takes a moment to give 200 MB back.
    while program in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout:
        assert time.monotonic() < end_s, "it outlived its limit"


def test_a_failure_is_told_and_what_it_said_is_kept(tmp_path: Path) -> None:
    measured = _measured("import sys; sys.exit('no such file')", tmp_path)
    assert measured.outcome == "failed"
    assert (tmp_path / "said.txt").read_text() == "no such file\n"


def test_the_last_line_is_the_output(tmp_path: Path) -> None:
    assert _measured("print('one'); print('two')", tmp_path).output == "two"


def test_a_directory_that_is_not_there_takes_no_disk(tmp_path: Path) -> None:
    assert disk_of(tmp_path / "missing") == 0
