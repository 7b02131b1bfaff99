"""A container's CPU quota counts, wherever in the hierarchy it stands."""

import math
import os
from pathlib import Path

import pytest

from tunelane_serving import cores
from tunelane_serving.cores import quota_cores, usable_cores


@pytest.fixture
def quota_of(tmp_path: Path):
    """Write cgroup files below a mount point of `tmp_path`, and read the quota from them."""

    def quota(cgroup: str, mount: str, files: dict[str, str]) -> float:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        (tmp_path / "cgroup").write_text(cgroup)
        (tmp_path / "mountinfo").write_text(
            "22 1 0:21 / /proc rw,nosuid shared:13 - proc proc rw\n" + mount.format(tmp_path) + "\n"
        )
        return quota_cores(tmp_path / "cgroup", tmp_path / "mountinfo")

    return quota


V2_MOUNT = "30 23 0:26 / {}/v2 rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1_MOUNT = "31 23 0:27 / {}/cpu rw,nosuid master:9 - cgroup cgroup rw,cpu,cpuacct"


def test_a_v2_quota_of_the_process_s_own_cgroup_counts(quota_of) -> None:
    assert quota_of("0::/app\n", V2_MOUNT, {"v2/app/cpu.max": "150000 100000\n"}) == 1.5


def test_no_quota_is_infinite(quota_of) -> None:
    assert quota_of("0::/app\n", V2_MOUNT, {"v2/app/cpu.max": "max 100000\n"}) == math.inf


def test_a_parent_s_smaller_v2_quota_counts(quota_of) -> None:
    files = {"v2/pod/app/cpu.max": "max 100000\n", "v2/pod/cpu.max": "50000 100000\n", "v2/cpu.max": "400000 100000\n"}
    assert quota_of("0::/pod/app\n", V2_MOUNT, files) == 0.5


def test_a_container_sees_its_own_part_of_the_hierarchy(quota_of) -> None:
    mount = "30 23 0:26 /docker/4f {}/v2 ro - cgroup2 cgroup2 rw"
    assert quota_of("0::/docker/4f/app\n", mount, {"v2/app/cpu.max": "200000 100000"}) == 2
    assert quota_of("0::/\n", mount, {"v2/cpu.max": "300000 100000"}) == 3


def test_a_v1_quota_counts_and_minus_one_is_none(quota_of) -> None:
    cgroup = "5:memory:/app\n3:cpuacct,cpu:/app\n0::/\n"
    files = {"cpu/app/cpu.cfs_quota_us": "-1\n", "cpu/app/cpu.cfs_period_us": "100000\n"}
    assert quota_of(cgroup, V1_MOUNT, files) == math.inf
    files = {"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}
    assert quota_of(cgroup, V1_MOUNT, files) == 2.5


def test_a_v1_hierarchy_without_the_cpu_controller_says_nothing(quota_of) -> None:
    mount = "31 23 0:27 / {}/cpuset rw - cgroup cgroup rw,cpuset"
    files = {"cpuset/app/cpu.cfs_quota_us": "100000", "cpuset/app/cpu.cfs_period_us": "100000"}
    assert quota_of("3:cpuset:/app\n", mount, files) == math.inf


def test_a_mount_point_with_a_space_is_found(quota_of) -> None:
    mount = r"30 23 0:26 / {}/the\040v2 rw - cgroup2 cgroup2 rw"
    assert quota_of("0::/\n", mount, {"the v2/cpu.max": "100000 100000"}) == 1


def test_a_disk_under_a_name_that_is_no_utf_8_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "cgroup").write_text("0::/\n")
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    disk = b"29 23 8:17 / /media/Caf\xe9 rw - vfat /dev/sdb1 rw\n"
    (tmp_path / "mountinfo").write_bytes(disk + f"30 23 0:26 / {tmp_path} rw - cgroup2 cgroup2 rw\n".encode())
    assert quota_cores(tmp_path / "cgroup", tmp_path / "mountinfo") == 1


def test_a_system_without_cgroups_has_no_quota(tmp_path: Path) -> None:
    assert quota_cores(tmp_path / "cgroup", tmp_path / "mountinfo") == math.inf


@pytest.mark.parametrize(("quota", "expected"), [(0.2, 1), (1.0, 1), (1.5, 2), (math.inf, 3), (64.0, 3)])
def test_the_quota_is_rounded_up_and_never_above_the_affinity(
    monkeypatch: pytest.MonkeyPatch, quota: float, expected: int
) -> None:
    monkeypatch.setattr(cores, "quota_cores", lambda *_: quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 5})
    assert usable_cores() == expected


def test_this_machine_has_at_least_one_core() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
