import subprocess
import sys
from pathlib import Path

from benchmarks.serving.install import size_on_disk

ROOT = Path(__file__).parents[3]


def test_without_a_package_it_says_which_command_makes_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.serving", "--home", str(tmp_path)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 2
    assert "tunelane run train-classifier --config sentiment" in finished.stderr
    assert finished.stderr.count("\n") == 1


def test_a_directory_without_a_package_is_named(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.serving", "--package", str(tmp_path)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 2
    assert finished.stderr == f"{tmp_path} is no model package: it has no manifest.json. Pass another with --package.\n"


def test_the_size_on_disk_is_in_whole_blocks(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "one").write_bytes(b"x" * 5000)
    assert size_on_disk(tmp_path) in range(5000, 5000 + 65536)
