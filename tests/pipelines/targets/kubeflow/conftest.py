"""A target on a fake installation, and runs to submit to it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.kubeflow.hurried import HurriedApi
from tests.cloud.kubeflow.installation import FakeKubeflow
from tunelane_pipelines.settings.sections import KubeflowSettings
from tunelane_pipelines.targets.kubeflow.target import KubeflowTarget
from tunelane_pipelines.targets.target import Submission


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of one's own, which must stay empty."""
    from kfp import Client

    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(Client, "_LOCAL_KFP_CONTEXT", str(home / ".config" / "kfp" / "context.json"))
    for name in ("KF_PIPELINES_ENDPOINT", "KF_PIPELINES_UI_ENDPOINT", "KF_PIPELINES_IAP_OAUTH2_CLIENT_ID"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture
def fake() -> Iterator[FakeKubeflow]:
    """An installation without users."""
    with FakeKubeflow() as fake:
        yield fake


@pytest.fixture
def open_target() -> Callable[..., KubeflowTarget]:
    """`open_target(fake, **settings)`."""

    def open_one(fake: FakeKubeflow, **settings: Any) -> KubeflowTarget:
        known = KubeflowSettings(host=fake.host, **settings)
        return KubeflowTarget(known, fake.clock, HurriedApi(known, fake))

    return open_one


@pytest.fixture
def target(fake: FakeKubeflow, open_target: Callable[..., KubeflowTarget]) -> KubeflowTarget:
    """The target of that installation."""
    return open_target(fake)


@pytest.fixture(scope="session")
def convert() -> Submission:
    """A run of a pipeline with two tasks, one of them in a branch; small, as the spec travels with every answer."""
    tasks = {
        "build-dataset": {"componentRef": {"name": "comp-build-dataset"}, "taskInfo": {"name": "build-dataset"}},
        "condition-1": {"componentRef": {"name": "comp-condition-1"}, "taskInfo": {"name": "condition-1"}},
    }
    inside = {"export-onnx": {"componentRef": {"name": "comp-export-onnx"}, "taskInfo": {"name": "export-onnx"}}}
    executors = {
        name: {"container": {"image": "trainer", "command": ["true"]}} for name in ("exec-build-dataset", "exec-export")
    }
    parameters = {
        "checkpoint": {"parameterType": "STRING"},
        "rows": {"parameterType": "NUMBER_INTEGER", "isOptional": True},
        "quantize": {"parameterType": "BOOLEAN", "isOptional": True},
    }
    spec = {
        "pipelineInfo": {"name": "convert"},
        "root": {"dag": {"tasks": tasks}, "inputDefinitions": {"parameters": parameters}},
        "components": {
            "comp-build-dataset": {"executorLabel": "exec-build-dataset"},
            "comp-condition-1": {"dag": {"tasks": inside}},
            "comp-export-onnx": {"executorLabel": "exec-export"},
        },
        "deploymentSpec": {"executors": executors},
        "schemaVersion": "2.1.0",
    }
    deadline = {"exec-build-dataset": {"activeDeadlineSeconds": "9000"}}
    return Submission(
        run_id="20260101-000000-convert-ab12",
        pipeline="convert",
        display_name="Convert the finished model",
        spec=spec,
        manifests=({"platforms": {"kubernetes": {"deploymentSpec": {"executors": deadline}}}},),
        parameters={"checkpoint": "gs://bucket/model", "rows": 100, "quantize": False},
        labels={"team": "language"},
    )


@pytest.fixture(scope="session")
def another(convert: Submission) -> Submission:
    """Another run of it."""
    return replace(convert, run_id="20260101-000001-convert-cd34")
