"""The compiled pipelines against the golden files: nothing of their meaning changes unseen."""

import json
import subprocess
import sys
from difflib import unified_diff
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
_NAMES = [
    f"{target}-{pipeline}.json" for target in ("kubeflow", "vertex") for pipeline in ("convert", "train-classifier")
]


@pytest.fixture(scope="module")
def renewed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("golden")
    subprocess.run([sys.executable, _HERE / "renew_golden.py", directory], check=True, env={})
    return directory


@pytest.mark.parametrize("name", _NAMES)
def test_a_pipeline_means_what_its_golden_file_says(name: str, renewed: Path) -> None:
    golden, now = ((directory / name).read_text().splitlines() for directory in (_HERE / "golden", renewed))
    difference = list(unified_diff(golden, now, "golden", "now", n=1, lineterm=""))
    how = "If this is meant: python tests/pipelines/compiling/renew_golden.py, and look at the difference."
    assert not difference, "\n".join([how, *difference])


def test_every_golden_file_belongs_to_a_pipeline(renewed: Path) -> None:
    assert sorted(path.name for path in (_HERE / "golden").iterdir()) == sorted(path.name for path in renewed.iterdir())


def test_the_golden_files_hold_the_timeout_and_no_source() -> None:
    golden = json.loads((_HERE / "golden" / "vertex-train-classifier.json").read_text())
    executors = golden["deploymentSpec"]["executors"]
    payload = executors.pop("exec-train-lora")["container"]["args"][3]
    assert payload["job_spec"]["scheduling"]["timeout"] == "86400s"
    for label, executor in executors.items():
        assert executor["container"]["command"][:2] == ["timeout", "--kill-after=30"], label
        assert executor["container"]["command"][3:] == ["sh", "-ec"], label
    assert "def train_lora" not in json.dumps(golden)
    assert "sdkVersion" not in golden
