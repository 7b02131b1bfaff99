"""The notebook, cell by cell, against fakes."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cloud.bench.bench import Bench
from tests.cloud.bench.steps import Step
from tests.docs.pages import ROOT, blocks
from tunelane_components.images import EXTRA_BY_IMAGE

_NOTEBOOK = ROOT / "docs" / "vertex_workbench.ipynb"
_RUN = """
import json, sys
names = {}
for number, cell in enumerate(json.loads(sys.stdin.read())):
    exec(compile(cell, f"cell {number}", "exec"), names)
print(json.dumps({
    "levels": [check.level for check in names["checks"]], "succeeded": names["succeeded"],
    "run_id": names["record"].run_id, "schedule": names["schedule"].state,
}))
"""


def _cells() -> list[str]:
    content = json.loads(_NOTEBOOK.read_text())
    assert (content["nbformat"], content["metadata"]["language_info"]["name"]) == (4, "python")
    return ["".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == "code"]


@pytest.fixture
def place(tmp_path: Path, bench: Bench) -> Path:
    """A directory as the notebook wants it, with the profile of docs/cloud.md for the bench's project."""
    profile = next(block.text for block in blocks(ROOT / "docs" / "cloud.md") if block.language == "yaml")
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "prod.yaml").write_text(profile.replace("my-project", bench.project))
    images = {name: f"registry.example.org/{name}" for name in EXTRA_BY_IMAGE}
    (tmp_path / "images.json").write_text(json.dumps(images))
    bench.storage.add_bucket(f"{bench.project}-tunelane", bench.region)
    bench.storage.write(f"gs://{bench.project}-tunelane/held_out.csv", b"text,label\n")
    bench.quotas.limits["aiplatform.googleapis.com/custom_model_training_nvidia_l4_gpus", bench.region] = 1
    return tmp_path


def test_the_cells_submit_watch_and_schedule(bench: Bench, place: Path) -> None:
    tasks = ("import-checkpoint", "build-dataset", "export-onnx", "validate-parity")
    bench.vertex.script([Step("SUCCEEDED", dict.fromkeys(tasks, "SUCCEEDED"))])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TUNELANE_")}
    finished = subprocess.run(
        [sys.executable, "-c", _RUN], input=json.dumps(_cells()), cwd=place, env={**kept, **bench.environment},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stdout + finished.stderr
    done = json.loads(finished.stdout.splitlines()[-1])
    assert set(done["levels"]) <= {"ok", "info"}
    assert done["succeeded"] is True
    (job,) = bench.vertex.jobs()
    assert job.labels["tunelane-run"] == done["run_id"]
    assert job.labels["from"] == "workbench"
    assert len(bench.called("CreateSchedule")) == len(bench.called("PauseSchedule")) == 1
    assert list(bench.schedules.schedules()) == []


def test_no_output_and_no_magic_is_kept_in_the_notebook() -> None:
    for cell in json.loads(_NOTEBOOK.read_text())["cells"]:
        assert cell.get("outputs", []) == [] and cell.get("execution_count") is None
    for cell in _cells():
        ast.parse(cell)
