"""The tables and pictures that are made from the code are up to date, and it is seen when they are not."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

_PACKAGES = ("serving", "components", "pipelines")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Give a copy of the code and of the documentation."""
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for folder in (*_PACKAGES, "docs", "benchmarks"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    shutil.copy(ROOT / "README.md", tmp_path)
    return tmp_path


@pytest.fixture
def generate(copy: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the copy's generator on the copy's code."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(copy / "docs" / "generate.py"), *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(str(copy / package) for package in _PACKAGES)},
        )

    return run


def _replace(path: Path, old: str, new: str) -> None:
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new))


def test_the_pages_are_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("file", "old", "new", "stale"),
    [
        (
            "components/tunelane_components/gate/component.py",
            "minimum_f1: Macro-F1 that a first champion needs.",
            "minimum_f1: What a first champion needs.",
            ["docs/stages/gate.md"],
        ),
        (
            "pipelines/tunelane_pipelines/convert.py",
            'named(exported, "Export to ONNX")',
            'named(exported, "Write the graphs")',
            ["docs/pictures/convert.svg"],
        ),
        (
            "pipelines/tunelane_pipelines/cli/run.py",
            '"""Run a pipeline on this machine."""',
            '"""Run a pipeline."""',
            ["docs/cli.md"],
        ),
        ("docs/troubleshooting.md", "0.85 is the default.", "0.85 unless set.", ["docs/stages/gate.md"]),
        (
            "serving/tunelane_serving/server/routes/predictions.py",
            'example={"text": "it was a good film"}',
            'example={"text": "it was a bad film"}',
            ["docs/api/tunelane.postman_collection.json"],
        ),
    ],
    ids=["docstring", "task", "command", "message", "request"],
)
def test_a_change_makes_the_pages_stale_until_they_are_made_anew(
    file: str,
    old: str,
    new: str,
    stale: list[str],
    copy: Path,
    generate: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    _replace(copy / file, old, new)
    checked = generate("--check")
    assert checked.returncode == 1
    assert checked.stderr.splitlines() == [f"{page} is not up to date. Run: make docs" for page in stale]
    assert generate().stdout.splitlines() == stale
    assert generate("--check").returncode == 0


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("<!-- generated: floor -->", "<!-- generated: flor -->", "README.md: no block 'flor'. There are: pipelines,"),
        ("<!-- end -->", "", "README.md: a generated block has no <!-- end -->"),
        ("<!-- generated: floor -->", "<!-- generated: component gate -->", "there is no 'gate'"),
    ],
    ids=["name", "end", "argument"],
)
def test_a_broken_page_is_one_line_and_writes_nothing(
    old: str, new: str, words: str, copy: Path, generate: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    _replace(copy / "README.md", old, new)
    before = (copy / "README.md").read_text()
    failed = generate()
    assert failed.returncode == 1
    assert len(failed.stderr.splitlines()) == 1
    assert words in failed.stderr
    assert (copy / "README.md").read_text() == before


def test_the_readme_quotes_the_benchmarks_as_they_were_measured() -> None:
    readme = (ROOT / "README.md").read_text()
    floor = json.loads((ROOT / "benchmarks" / "results" / "floor.json").read_text())
    for row in floor["seeds"]:
        f1, baseline = row["package_macro_f1"], row["floor_macro_f1"]
        assert f"| {row['seed']} | {f1:.3f} | {baseline:.3f} | {100 * (f1 - baseline):+.1f} |" in readme
    value, lower, upper = (100 * floor["delta"][bound] for bound in ("value", "lower", "upper"))
    assert f"Difference {value:+.1f} points, 95 % interval {lower:+.1f} to {upper:+.1f}" in readme
    assert f"on the same {floor['test_rows']:,} test rows" in readme
    curve = json.loads((ROOT / "benchmarks" / "results" / "rows_curve.json").read_text())["points"]
    quoted = re.findall(
        r"^\| (\d+|all) \| ([\d,]+) \| ([\d,]+) \| ([\d.]+) \| ([\d.]+) \| (\d+) \|$", readme, re.MULTILINE
    )
    assert [tuple(float(cell.replace(",", "").replace("all", "0")) for cell in row) for row in quoted] == [
        (
            point["rows"],
            point["train_rows"],
            point["test_rows"],
            round(point["package_macro_f1"], 3),
            round(point["floor_macro_f1"], 3),
            round(point["train_cpu_s"]),
        )
        for point in curve
    ]
