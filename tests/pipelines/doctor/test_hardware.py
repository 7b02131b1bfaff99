"""What a machine gives, read from files as the kernel writes them."""

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from tunelane_pipelines.doctor import hardware
from tunelane_pipelines.doctor.hardware import check_cores, check_disk, check_int8, check_memory


@pytest.mark.parametrize(
    ("content", "level", "words"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_vnni\n", "ok", "avx512_vnni"),
        ("flags\t\t: fpu avx2 avx_vnni\n", "ok", "avx_vnni"),
        ("Features\t: fp asimd asimddp\n", "ok", "asimddp"),
        ("flags\t\t: fpu avx2\n", "warning", "no VNNI"),
        ("model name\t: avx512_vnni in name only\nflags\t\t: fpu\n", "warning", "no VNNI"),
    ],
)
def test_int8_is_fast_where_the_processor_multiplies_it(content: str, level: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(content)
    check = check_int8(tmp_path / "cpuinfo")
    assert check.level == level
    assert words in check.found


def test_where_the_processor_does_not_say_nothing_is_claimed(tmp_path: Path) -> None:
    assert check_int8(tmp_path / "nowhere").level == "info"


class _Groups(NamedTuple):
    groups: Path
    own_group: Path


@pytest.fixture
def control(tmp_path: Path) -> _Groups:
    """A process in the control group /pods/one."""
    (tmp_path / "groups" / "pods" / "one").mkdir(parents=True)
    (tmp_path / "own").write_text("0::/pods/one\n")
    return _Groups(tmp_path / "groups", tmp_path / "own")


def test_the_narrowest_quota_around_the_process_counts(control: _Groups, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "usable_cores", lambda: 4)
    assert check_cores(*control).found == "4 cores"
    (control.groups / "pods" / "one" / "cpu.max").write_text("max 100000\n")
    assert check_cores(*control).level == "ok"
    (control.groups / "pods" / "cpu.max").write_text("250000 100000\n")
    check = check_cores(*control)
    assert check.level == "warning"
    assert "4 cores, but a quota of 2.5" in check.found
    assert "taskset -c 0-1 " in check.advice


def test_a_limit_of_the_control_group_is_all_the_memory_there_is(control: _Groups, tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:       16000000 kB\nMemAvailable:    8000000 kB\nHugePages_Total:  0\n")
    assert check_memory(tmp_path / "meminfo", *control).found == "8.2 GB free of 16.4 GB"
    (control.groups / "pods" / "one" / "memory.max").write_text("max\n")
    assert check_memory(tmp_path / "meminfo", *control).level == "ok"
    (control.groups / "pods" / "memory.max").write_text("1000000000\n")
    check = check_memory(tmp_path / "meminfo", *control)
    assert (check.level, check.found) == ("warning", "1.0 GB free of 1.0 GB")


def test_a_full_disk_is_named_with_how_to_go_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "not" / "there" / "yet"
    assert next(check_disk(root)).level == "ok"
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=int(1e8)))
    check = next(check_disk(root))
    assert check.level == "problem"
    assert check.found == f"0.1 GB free at {tmp_path}"
    assert "--root" in check.advice
