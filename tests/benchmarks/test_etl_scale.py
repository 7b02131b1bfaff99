import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ROWS = 10_000


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    output = tmp_path_factory.mktemp("scale") / "result.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "etl_scale.py"), "--rows", str(ROWS), "--figure-rows", "0"]
    command += ["--output", str(output)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    found: dict[str, Any] = json.loads(output.read_text())
    return found


def _builds(result: dict[str, Any]) -> dict[str, Any]:
    return {build["name"]: build for build in result["sizes"][0]["builds"]}


@pytest.mark.parametrize("alternative", ["pandas", "datasets"])
def test_an_alternative_gives_the_same_rows_in_the_same_splits_and_order(
    result: dict[str, Any], alternative: str
) -> None:
    builds = _builds(result)
    (comparison,) = builds[alternative]["comparisons"]
    assert comparison["is_same"], comparison["first_difference"]
    assert comparison["rows"] == builds["tunelane"]["runs"][0]["output"]["rows_kept"]


def test_every_row_is_accounted_for(result: dict[str, Any]) -> None:
    for build in _builds(result).values():
        counts = build["runs"][0]["output"]
        assert counts["rows_read"] == ROWS
        assert counts["rows_kept"] + counts["rows_merged"] + counts["rows_quarantined"] == ROWS
        assert min(counts["rows_merged"], counts["rows_quarantined"]) > 0


def test_the_result_says_with_what_it_was_measured(result: dict[str, Any]) -> None:
    assert {"python", "pandas", "datasets", "pyarrow", "numpy"} <= set(result["environment"]["versions"])
    assert result["environment"]["machine"]["cores"] > 0
    assert result["seed"] == 0
