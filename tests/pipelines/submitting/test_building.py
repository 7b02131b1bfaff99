"""A submission: compiled for its target, with real images and legal labels; and kept as it is."""

import json
import stat
from pathlib import Path

import pytest

from tunelane_components.images import EXTRA_BY_IMAGE
from tunelane_pipelines.settings import Settings
from tunelane_pipelines.submitting.building import build_submission
from tunelane_pipelines.submitting.kept import SUBMISSION, read_submission, write_submission
from tunelane_pipelines.targets.target import Submission
from tunelane_serving.errors import ContractError, InputError


@pytest.fixture
def parameters() -> dict[str, str | int | float | bool]:
    """Those of a run on a cluster, as far as they matter here."""
    return {"data": "gs://bucket/rows.csv", "model_name": "tickets"}


@pytest.mark.parametrize("target", ["vertex", "kubeflow"])
def test_a_submission_has_the_compiled_pipeline_with_real_images(
    target: str, settings: Settings, parameters: dict[str, str | int | float | bool]
) -> None:
    made = build_submission("train-classifier", target, parameters, settings, run_id="r", labels=["team=care"])
    executors = made.spec["deploymentSpec"]["executors"]
    training = executors.pop("exec-train-lora")["container"]
    assert {executor["container"]["image"] for executor in executors.values()} <= {
        f"registry.example.org/{name}" for name in EXTRA_BY_IMAGE
    }
    assert {"vertex": "NVIDIA_L4", "kubeflow": "nvidia.com/gpu"}[target] in json.dumps(training)
    assert (made.run_id, made.display_name, made.labels) == ("r", "Train classifier: tickets", {"team": "care"})
    assert (made.caching, made.fail_fast, made.experiment) == (True, True, "")
    assert len(made.manifests) == {"vertex": 0, "kubeflow": 1}[target]
    json.dumps(made.spec), json.dumps(made.manifests)


def test_a_submission_comes_back_as_it_was_kept_and_nobody_else_reads_it(
    settings: Settings, parameters: dict[str, str | int | float | bool], tmp_path: Path
) -> None:
    parameters |= {"rows": 0, "margin": 0.0, "quantize": True}
    made = build_submission("train-classifier", "kubeflow", parameters, settings, run_id="r", fail_fast=False)
    write_submission(tmp_path, made)
    again = read_submission(tmp_path)
    assert again == made
    assert {name: type(value) for name, value in again.parameters.items()} == {
        name: type(value) for name, value in parameters.items()
    }
    assert stat.S_IMODE((tmp_path / SUBMISSION).stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [None, b"{", b'{"run_id": 1}'])
def test_a_submission_that_cannot_be_read_is_named(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / SUBMISSION).write_bytes(content)
    with pytest.raises(ContractError, match=r"submission\.json: .*can only be submitted anew"):
        read_submission(tmp_path)


@pytest.mark.parametrize(
    ("target", "changes", "words"),
    [
        ("azure", {}, "No target 'azure'"),
        ("vertex", {"gpu": "h100"}, "No GPU 'h100'"),
        ("vertex", {"images": None}, "No images: .*Pass --images FILE"),
    ],
)
def test_what_cannot_be_compiled_is_refused(
    target: str, changes: dict[str, object], words: str, settings: Settings, submission: Submission
) -> None:
    with pytest.raises(InputError, match=words):
        build_submission("convert", target, {}, settings.model_copy(update=changes), run_id="r")


def test_logical_names_are_no_images(settings: Settings, images: Path) -> None:
    images.write_text(json.dumps({name: name for name in EXTRA_BY_IMAGE}))
    with pytest.raises(InputError, match="is a logical name, which no registry has"):
        build_submission("convert", "vertex", {}, settings, run_id="r")
