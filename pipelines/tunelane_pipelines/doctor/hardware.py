"""Processor, memory and disk: what this machine gives, and what to expect of it."""

import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tunelane_pipelines.doctor.check import Check, gigabytes
from tunelane_pipelines.samples import sample_directory
from tunelane_serving.cores import usable_cores

# A run of the sample leaves 0.2 GB; its training takes 2 GB of memory.
_DISK_NEEDED_BYTES = 500e6
_MEMORY_NEEDED_BYTES = 2e9
# Instructions that multiply 8-bit numbers into 32-bit sums: x86 VNNI, Arm's dot product.
_INT8_FLAGS = ("avx512_vnni", "avx_vnni", "asimddp", "i8mm")

CPU_INFO = Path("/proc/cpuinfo")
MEMORY_INFO = Path("/proc/meminfo")
CONTROL_GROUPS = Path("/sys/fs/cgroup")
OWN_GROUP = Path("/proc/self/cgroup")


def check_int8(cpu_info: Path = CPU_INFO) -> Check:
    """Whether the processor multiplies int8 as the machine did that measured the package."""
    try:
        content = cpu_info.read_text(errors="replace")
    except OSError:
        return Check("int8", "info", f"{platform.machine()}: what it can do is not known")
    flags = set(re.findall(r"[\w.]+", " ".join(re.findall(r"^(?:flags|Features)\s*:(.*)$", content, re.MULTILINE))))
    found = [flag for flag in _INT8_FLAGS if flag in flags]
    if found:
        return Check("int8", "ok", f"{found[0]}: int8 graphs are fast, and answer as they were measured")
    return Check(
        "int8",
        "warning",
        "no VNNI: int8 graphs are slower and can answer differently",
        "Nothing: a package whose int8 graph misses its tolerance here is served by fp32.",
    )


def check_cores(groups: Path = CONTROL_GROUPS, own_group: Path = OWN_GROUP) -> Check:
    """Cores, and whether a quota of the control group gives less than they look like."""
    cores = usable_cores()
    quota = _cpu_quota(groups, own_group)
    spoken = "1 core" if cores == 1 else f"{cores} cores"
    if quota is not None and quota < cores:
        whole = max(int(quota), 1)
        return Check(
            "cores",
            "warning",
            f"{spoken}, but a quota of {quota:g}: threads are stopped when it is used up",
            f"Start commands on as many cores as the quota gives: taskset -c 0-{whole - 1} tunelane …",
        )
    return Check("cores", "ok", spoken)


def check_memory(memory_info: Path = MEMORY_INFO, groups: Path = CONTROL_GROUPS, own_group: Path = OWN_GROUP) -> Check:
    """Memory that is free to use, the control group's limit counted."""
    try:
        kilobytes = dict(re.findall(r"^(\w+):\s+(\d+) kB$", memory_info.read_text(), re.MULTILINE))
        free_bytes, total_bytes = (1024 * int(kilobytes[name]) for name in ("MemAvailable", "MemTotal"))
    except (OSError, KeyError):
        return Check("memory", "info", "how much there is is not known")
    limit = _memory_limit_bytes(groups, own_group)
    if limit is not None and limit < total_bytes:
        total_bytes, free_bytes = limit, min(free_bytes, limit)
    found = f"{gigabytes(free_bytes)} free of {gigabytes(total_bytes)}"
    if free_bytes < _MEMORY_NEEDED_BYTES:
        advice = f"Training wants {gigabytes(_MEMORY_NEEDED_BYTES)}. End other programs, or take a smaller batch_size."
        return Check("memory", "warning", found, advice)
    return Check("memory", "ok", found)


def check_disk(root: Path) -> Iterator[Check]:
    """Room where runs, samples and temporary files go, once for each file system."""
    seen: set[int] = set()
    for path, use in ((root, "--root"), (sample_directory("any"), "TUNELANE_CACHE_DIR"), (_temporary(), "TMPDIR")):
        there = nearest_existing(path)
        if there.stat().st_dev in seen:
            continue
        seen.add(there.stat().st_dev)
        free_bytes = shutil.disk_usage(there).free
        found = f"{gigabytes(free_bytes)} free at {there}"
        if free_bytes < _DISK_NEEDED_BYTES:
            advice = f"A run wants {gigabytes(_DISK_NEEDED_BYTES)}. Make room, or choose another place with {use}."
            yield Check("disk", "problem", found, advice)
        else:
            yield Check("disk", "ok", found)


def nearest_existing(path: Path) -> Path:
    """`path`, or the nearest of its parents that is there and may be seen."""
    return next(place for place in (path, *path.parents) if _is_seen(place))


def _is_seen(place: Path) -> bool:
    try:
        return place.exists()
    except OSError:  # below a directory that may not be entered, or no possible name
        return False


def _temporary() -> Path:
    return Path(tempfile.gettempdir())


def _own_directories(groups: Path, own_group: Path) -> list[Path]:
    """Directories of the control group (version 2) of this process and of those around it, the nearest first."""
    try:
        found = re.search(r"^0::/(.*)$", own_group.read_text(), re.MULTILINE)
    except OSError:
        found = None
    own = groups / found[1] if found else groups
    return [place for place in (own, *own.parents) if place.is_relative_to(groups)]


def _cpu_quota(groups: Path, own_group: Path) -> float | None:
    """Cores' worth of time that the narrowest `cpu.max` gives; None where nothing limits it."""
    quotas = []
    for place in _own_directories(groups, own_group):
        try:
            given, period = (place / "cpu.max").read_text().split()
        except (OSError, ValueError):
            continue
        if given != "max":
            quotas.append(int(given) / int(period))
    return min(quotas, default=None)


def _memory_limit_bytes(groups: Path, own_group: Path) -> int | None:
    limits = []
    for place in _own_directories(groups, own_group):
        try:
            limits.append(int((place / "memory.max").read_text()))
        except (OSError, ValueError):
            # No such file, or "max".
            continue
    return min(limits, default=None)
