"""A server as a process group: start it, read its processor time and memory from outside, end it (Linux)."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_STOP_S = 10.0


class ServerFailed(Exception):
    """A server did not start or did not answer; the message says which, and the last line that it wrote."""


class ServerProcess:
    """A server in a session of its own, with all its children."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        self._log = log
        self.started_s = time.perf_counter()
        with log.open("wb") as said:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        self.session = self._process.pid

    def has_ended(self) -> bool:
        """Whether the process that was started is gone."""
        return self._process.poll() is not None

    def last_words(self) -> str:
        """Give the last line of what it wrote."""
        return self._log.read_text(errors="replace").strip().rpartition("\n")[2]

    def stop(self) -> None:
        """End it and all its children: first by SIGTERM, after a while by SIGKILL."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_S)
        for pid in processes_of(self.session):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()


def free_port() -> int:
    """Give a port that nobody listens on just now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def processes_of(session: int) -> list[int]:
    """Give the living processes of a session."""
    return [pid for pid, fields in _stats() if int(fields[3]) == session and fields[0] != "Z"]


def cpu_s(session: int) -> float:
    """Give the processor seconds, user and system, of all processes of a session and of their ended children.

    proc_pid_stat(5): utime, stime, cutime and cstime, fields 14 to 17, in clock ticks.
    """
    return _TICK_S * sum(sum(map(int, fields[11:15])) for _, fields in _stats() if int(fields[3]) == session)


def busy_s() -> float:
    """Give the seconds that the machine's processors were busy since its start, with whatever it was (proc_stat(5))."""
    user, nice, system, _idle, _iowait, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return _TICK_S * (user + nice + system + irq + softirq)


def memory_bytes(session: int) -> tuple[int, int]:
    """Give the resident memory of all processes of a session, now and at each one's peak (VmRSS and VmHWM)."""
    now = peak = 0
    for pid in processes_of(session):
        with suppress(OSError):  # it has ended
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            sizes = {line.partition(":")[0]: line.split()[1] for line in lines if line.startswith(("VmRSS", "VmHWM"))}
            now, peak = now + int(sizes["VmRSS"]) * 1024, peak + int(sizes["VmHWM"]) * 1024
    return now, peak


def _stats() -> Iterator[tuple[int, list[str]]]:
    """Give process id and the fields of its stat after the name in brackets, the state first."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(OSError):  # it has ended
                stat = Path(entry.path, "stat").read_text()
                yield int(entry.name), stat.rpartition(")")[2].split()
