"""What a command costs with all its processes: time, memory and disk, sampled from outside while it runs (Linux)."""

import os
import resource
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PERIOD_S = 0.1
# A sample of a large process takes long: the kernel walks all its pages. Sampling may take this share of one core.
_SAMPLING_SHARE = 0.05
# Mapped files (libraries, Arrow tables) are page cache, which the kernel may drop; the rest a process must have.
_OWN = ("Pss_Anon", "Pss_Shmem", "SwapPss")
_MAPPED = ("Pss_File",)


@dataclass(frozen=True)
class Measured:
    """What a command cost.

    Attributes:
        outcome: "done", "failed", or "out of memory" where it was ended for passing its limit.
        output: the last line that it wrote on its standard output.
        wall_s: seconds from its start to its end.
        cpu_s: processor seconds of all its processes.
        peak_memory_bytes: the highest sum, over its processes, of the memory that is theirs: what several share counts
            once, and mapped files do not count.
        peak_mapped_bytes: the highest sum of the mapped files' pages in memory.
        peak_disk_bytes: the highest sum of what lay in its directory.
        left_disk_bytes: what lay there in the end.
        samples: how many of memory were taken.
    """

    outcome: str
    output: str
    wall_s: float
    cpu_s: float
    peak_memory_bytes: int
    peak_mapped_bytes: int
    peak_disk_bytes: int
    left_disk_bytes: int
    samples: int


def measure(
    command: Sequence[str], directory: Path, *, limit_bytes: int, environment: Mapping[str, str] | None = None
) -> Measured:
    """Run `command`, which works in `directory` alone, and measure it.

    Its temporary files go to `directory`, too. What it says on standard error is left in `directory`/said.txt.
    """
    directory.mkdir(parents=True, exist_ok=True)
    # What was written before must not be paid for by this command.
    os.sync()
    before, started_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with (directory / "said.txt").open("wb") as said:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=said,
            env={**os.environ, "TMPDIR": str(directory), **(environment or {})},
            start_new_session=True,
        )
        # Where there is no memory left before the limit is seen, the kernel ends this command and nobody else's.
        with suppress(OSError):  # it has ended already
            Path(f"/proc/{process.pid}/oom_score_adj").write_text("1000")
        own = mapped = disk = samples = 0
        is_over = False
        pause_s = PERIOD_S
        while not _has_ended(process, pause_s):
            sample_started_s = time.monotonic()
            own_now, mapped_now = memory_of_session(process.pid)
            own, mapped, samples = max(own, own_now), max(mapped, mapped_now), samples + 1
            disk = max(disk, disk_of(directory))
            if own_now > limit_bytes:
                is_over = True
                _kill(process)
            pause_s = max(PERIOD_S, (time.monotonic() - sample_started_s) / _SAMPLING_SHARE)
        wall_s = time.monotonic() - started_s
        output = process.stdout.read().decode().strip().rpartition("\n")[2] if process.stdout else ""
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    left = disk_of(directory)
    # Killed by somebody else: the kernel, as there was no memory left between two samples.
    killed = process.returncode == -9
    return Measured(
        outcome="out of memory" if is_over or killed else "failed" if process.returncode else "done",
        output=output,
        wall_s=wall_s,
        cpu_s=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        peak_memory_bytes=own,
        peak_mapped_bytes=mapped,
        peak_disk_bytes=max(disk, left),
        left_disk_bytes=left,
        samples=samples,
    )


def memory_of_session(session: int) -> tuple[int, int]:
    """Give the bytes of memory of all processes of a session: their own, and those of mapped files."""
    own = mapped = 0
    for process in _processes_of(session):
        try:
            lines = (process / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue  # it has ended
        own += _kilobytes(lines, _OWN) * 1024
        mapped += _kilobytes(lines, _MAPPED) * 1024
    return own, mapped


def disk_of(directory: Path) -> int:
    """Give the bytes that the files below a directory take on the disk, now."""
    total = 0
    folders = [str(directory)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError:
            continue  # it has been removed meanwhile
    return total


def available_memory_bytes() -> int:
    """Give the memory that processes may still take, as the kernel estimates it (proc_meminfo(5), MemAvailable)."""
    return _kilobytes(Path("/proc/meminfo").read_text().splitlines(), ("MemAvailable",)) * 1024


def _has_ended(process: subprocess.Popen[bytes], wait_s: float) -> bool:
    try:
        process.wait(wait_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def _processes_of(session: int) -> list[Path]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # proc_pid_stat(5): after the name in brackets stand state, parent, process group and session.
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(entry)
    return found


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the command and all its processes."""
    for entry in _processes_of(process.pid):
        try:
            os.kill(int(entry.name), 9)
        except ProcessLookupError:
            continue


def _kilobytes(lines: Sequence[str], names: Sequence[str]) -> int:
    """Sum the fields of those names in lines such as 'Pss_Anon:  6876 kB'."""
    return sum(int(line.split()[1]) for line in lines if line.partition(":")[0] in names)
