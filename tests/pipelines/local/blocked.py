"""A run that waits, and what can be asked of it."""

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tunelane_pipelines.runs.record import LOG, RunRecord, read_record

COMMAND = (sys.executable, "-m", "tunelane_pipelines.cli")
SECRET = "hunter22"  # noqa: S105
URI = f"postgres://me:it's/{SECRET}@db"
"""Stands among the parameters."""


@dataclass(frozen=True)
class Blocked:
    """A run through the command line whose `build_dataset` waits for a pipe that nobody writes to."""

    process: "subprocess.Popen[str]"
    root: Path
    scratch: Path
    token: str

    def alive(self) -> dict[int, str]:
        """The command line of each process that inherited the run's token."""
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and self.token.encode() in (entry / "environ").read_bytes():
                    state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                    words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found |= {int(entry.name): words} if state != "Z" else {}
            except OSError:
                continue
        return found

    def pids_of(self, module: str) -> list[int]:
        """The processes that were started as `python -m MODULE`."""
        return [pid for pid, words in self.alive().items() if words.startswith(f"{sys.executable} -m {module} ")]

    def gone(self) -> bool:
        """Whether no process of the run is left; the kernel may take a moment to end those that were killed."""
        deadline_s = time.monotonic() + 60
        while self.alive():
            if time.monotonic() > deadline_s:
                return False
            time.sleep(0.05)
        return True

    def ended(self) -> int:
        """Wait for the command; gives its exit code."""
        return self.process.wait(timeout=120)

    @property
    def directory(self) -> Path:
        """The run's directory."""
        (directory,) = (path for path in (self.root / "runs").iterdir() if path.is_dir())
        return directory

    def record(self) -> RunRecord:
        """The run's record as it lies there."""
        return read_record(self.directory)

    def runs(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """`tunelane runs …` on the run's root."""
        command = [*COMMAND, "runs", *arguments, "--root", str(self.root)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    def wait_for_task(self) -> None:
        """Wait until the task has its input, and waits for its data."""
        deadline_s = time.monotonic() + 120
        while not self.waits_in_task():
            assert self.process.poll() is None, "the run ended"
            assert time.monotonic() < deadline_s, "waited in vain"
            time.sleep(0.05)

    def waits_in_task(self) -> bool:
        """Whether the task has its input, and waits for its data."""
        return bool(self.pids_of("kfp.dsl.executor_main")) and self._has_input()

    def _has_input(self) -> bool:
        said = (self.directory / LOG).read_text().rpartition("Executing task")[2]
        return "'build-dataset'" in said and "Got executor_input" in said and said.endswith("    }\n")
