import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.serving.processes import ServerProcess, cpu_s, memory_bytes, processes_of

PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"


@pytest.fixture
def started(tmp_path: Path) -> "Callable[[str], ServerProcess]":
    def start(program: str) -> ServerProcess:
        return ServerProcess([sys.executable, "-c", PARENT, program], tmp_path / "said.txt")

    return start


def _wait(is_so: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_the_processor_time_of_a_child_counts(started: "Callable[[str], ServerProcess]") -> None:
    process = started("while True: pass")
    try:
        _wait(lambda: cpu_s(process.session) > 0.5)
    finally:
        process.stop()


def test_the_memory_of_a_child_counts(started: "Callable[[str], ServerProcess]") -> None:
    process = started("held = b'x' * 50_000_000; import time; time.sleep(60)")
    try:
        _wait(lambda: memory_bytes(process.session)[0] > 50e6)
        now, peak = memory_bytes(process.session)
        assert peak >= now
    finally:
        process.stop()


def test_stopping_ends_the_children_too(started: "Callable[[str], ServerProcess]") -> None:
    process = started("import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)")
    _wait(lambda: len(processes_of(process.session)) == 2)
    process.stop()
    # Whoever adopted the child may take a moment to notice its end.
    _wait(lambda: processes_of(process.session) == [])


def test_the_last_words_are_kept(tmp_path: Path) -> None:
    process = ServerProcess([sys.executable, "-c", "print('one'); exit('no model')"], tmp_path / "said.txt")
    _wait(process.has_ended)
    assert process.last_words() in ("no model", "one")
    process.stop()
