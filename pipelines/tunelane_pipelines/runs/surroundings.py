"""What a run ran with and on: for its record, and for whoever wants to repeat it."""

import os
import platform
import re
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tunelane_serving.cores import usable_cores

_PACKAGES = ("tunelane", "kfp", "torch", "transformers", "peft", "onnx", "onnxruntime", "tokenizers", "mlflow")


def versions() -> dict[str, str]:
    """Python's version and those of the packages that decide what comes out, as far as they are installed."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, str | int]:
    """Operating system, processor, and the cores that may be used."""
    return {"system": platform.platform(terse=True), "processor": _processor(), "cores": usable_cores()}


def process_started_s() -> float:
    """When this process started, in seconds since the epoch; now, where the system does not say.

    proc_pid_stat(5): field 22 is the start in clock ticks since the boot.
    """
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError, IndexError):
        return time.time()
    return time.time() - age_s


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(errors="replace"), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()
