"""How many cores there are to use."""

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/proc/self/cgroup")
_MOUNTS = Path("/proc/self/mountinfo")


def usable_cores() -> int:
    """Cores this process may run on at once, at least 1: a container may have fewer than the machine.

    The smaller of the CPU affinity and the cgroup's CPU quota. A quota of 1.5 cores counts as 2: one worker alone
    would leave a third of it unused.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(allowed, quota_cores(_CGROUPS, _MOUNTS))))


def quota_cores(cgroups: Path, mounts: Path) -> float:
    """Cores that the CPU quota is worth, infinity where there is none: the least of the cgroup's and its parents'.

    Reads `cpu.max` of cgroup v2 and `cpu.cfs_quota_us` of v1
    (https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/scheduler/sched-bwc.html).

    Args:
        cgroups: `/proc/self/cgroup`, or a file of its form.
        mounts: `/proc/self/mountinfo`, or a file of its form.
    """
    cores = math.inf
    for mount_point, directory in _cgroup_directories(_text(cgroups), _text(mounts)):
        for place in (directory, *directory.parents):
            cores = min(cores, _quota_v2(place), _quota_v1(place))
            if place == mount_point:
                break
    return cores


def _cgroup_directories(cgroups: str, mounts: str) -> Iterator[tuple[Path, Path]]:
    """Where the hierarchies that may hold a CPU quota are mounted, and the process's own directory in each."""
    group_by_controller: dict[str, str] = {}
    for line in cgroups.splitlines():
        _, controllers, group = line.split(":", 2)
        # The v2 hierarchy has no controllers in its line.
        group_by_controller |= dict.fromkeys(controllers.split(","), group)
    for line in mounts.splitlines():
        mount, _, kind = line.partition(" - ")
        root, mount_point = (_unescaped(field) for field in mount.split(" ")[3:5])
        system, _, options = kind.split(" ", 2)
        if system == "cgroup2":
            controller = ""
        elif system == "cgroup" and "cpu" in re.split("[ ,]", options):
            controller = "cpu"
        else:
            continue
        group = group_by_controller.get(controller, root)
        # In a container the mount shows only its own part of the hierarchy, and the group's path may start above it.
        inside = Path(group).relative_to(root) if Path(group).is_relative_to(root) else Path()
        yield Path(mount_point), Path(mount_point) / inside


def _quota_v2(directory: Path) -> float:
    quota, _, period = _text(directory / "cpu.max").strip().partition(" ")
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() else math.inf


def _quota_v1(directory: Path) -> float:
    # -1 says that there is no quota.
    quota, period = (_text(directory / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() else math.inf


def _unescaped(field: str) -> str:
    """Spaces and the like stand in mountinfo as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _text(path: Path) -> str:
    try:
        # A disk may be mounted under a name that is no UTF-8.
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
