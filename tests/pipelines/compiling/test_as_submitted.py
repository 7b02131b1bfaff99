"""The compiled file is what submitting sends: the same pipeline and the same manifests, whatever the settings say."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from tunelane_pipelines.catalog import MODULE_BY_PIPELINE
from tunelane_pipelines.cli.main import app
from tunelane_pipelines.compiling.resources import TARGETS
from tunelane_pipelines.settings import load_settings
from tunelane_pipelines.submitting.building import build_submission

# Every setting that a compiled pipeline has something of, with the target whose file must change by it.
_SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("vertex", {"gpu": "a100"}),
    ("vertex", {"gpu": "none"}),
    ("vertex", {"gcp": {"spot": True}}),
    ("vertex", {"gcp": {"boot_disk_type": "pd-standard"}, "gpu": "a100"}),
    ("vertex", {"gcp": {"boot_disk_gb": 500}}),
    ("vertex", {"gcp": {"training_replicas": 4}}),
    ("kubeflow", {"gpu": "a100"}),
    ("kubeflow", {"gpu": "none"}),
    ("kubeflow", {"kubeflow": {"gpu_node_selector": {"accelerator": "nvidia-l4"}}}),
    ("kubeflow", {"kubeflow": {"gpu_tolerations": ["team=language:NoExecute"]}}),
    ("kubeflow", {"kubeflow": {"image_pull_secrets": ["registry"]}}),
    ("kubeflow", {"kubeflow": {"secret_environment": {"HF_TOKEN": "hub/token"}}}),
    ("kubeflow", {"kubeflow": {"volumes": {"/cache": "models"}}}),
]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings but those of the profile."""
    for name in [name for name in os.environ if name.startswith("TUNELANE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def _compiled(target: str, images: Path, settings: dict[str, Any], pipeline: str = "train-classifier") -> list[Any]:
    """The documents that `tunelane compile` writes with a profile."""
    profile = Path("profile.yaml")
    profile.write_text(yaml.safe_dump({"images": str(images), **settings}))
    arguments = ["compile", pipeline, "--target", target, "--profile", str(profile), "--output", "out"]
    finished = CliRunner().invoke(app, arguments)
    assert finished.exit_code == 0, finished.output
    return list(yaml.safe_load_all(Path("out", target, "pipelines", f"{pipeline}.yaml").read_text()))


def _submitted(target: str, pipeline: str = "train-classifier") -> list[Any]:
    """The documents that `tunelane submit` sends with that profile."""
    made = build_submission(pipeline, target, {}, load_settings(Path("profile.yaml")), run_id="run")
    return json.loads(json.dumps([made.spec, *made.manifests]))


@pytest.mark.parametrize(("target", "settings"), _SETTINGS, ids=str)
def test_each_setting_is_in_the_file_as_it_is_in_the_request(
    target: str, settings: dict[str, Any], images_file: Path
) -> None:
    compiled = _compiled(target, images_file, settings)
    assert compiled == _submitted(target)
    assert compiled != _compiled(target, images_file, {}), "the setting has no effect"


@pytest.mark.parametrize("pipeline", MODULE_BY_PIPELINE)
@pytest.mark.parametrize("target", TARGETS)
def test_all_settings_together_are_too(target: str, pipeline: str, images_file: Path) -> None:
    together: dict[str, Any] = {"gpu": "a100", "gcp": {}, "kubeflow": {}}
    for _, settings in _SETTINGS:
        for section in ("gcp", "kubeflow"):
            together[section] |= settings.get(section, {})
    assert _compiled(target, images_file, together, pipeline) == _submitted(target, pipeline)
