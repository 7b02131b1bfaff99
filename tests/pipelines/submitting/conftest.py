"""Submissions to a service in a file, and settings with which a pipeline can be compiled for a cluster."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipelines.service import FakeClock, Service
from tunelane_components.images import EXTRA_BY_IMAGE
from tunelane_pipelines.settings import Settings, load_settings
from tunelane_pipelines.submitting.sending import submit_run
from tunelane_pipelines.targets.target import Submission

CLUSTER = {
    "data": "gs://bucket/rows.csv",
    "registry_uri": "gs://bucket/registry",
    "deployment_uri": "gs://bucket/deployments",
    "model_name": "tickets",
}


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still while nobody sleeps."""
    return FakeClock()


@pytest.fixture
def service(tmp_path: Path, clock: FakeClock) -> Service:
    """A service without runs."""
    return Service(tmp_path / "service.json", clock)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where runs lie."""
    return tmp_path / "root"


@pytest.fixture
def submission() -> Submission:
    """What is sent; its pipeline is one of ours."""
    return Submission("train-classifier-1", "train-classifier", "Train classifier: tickets", {"root": {}}, CLUSTER)


@pytest.fixture
def submit(submission: Submission, root: Path, service: Service, clock: FakeClock) -> Callable[[], object]:
    """Submit the run."""
    return lambda: submit_run(submission, root, service, clock, command="tunelane submit")


@pytest.fixture
def cluster(service: Service) -> Service:
    """A service that starts a run whenever it is sent one, as Kubeflow does."""
    service.takes_run_id = False
    return service


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A release's file of images."""
    path = tmp_path / "images.json"
    path.write_text(json.dumps({name: f"registry.example.org/{name}" for name in EXTRA_BY_IMAGE}))
    return path


@pytest.fixture
def settings(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a machine that has a release's images and no account."""
    for name in [name for name in os.environ if name.startswith("TUNELANE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return load_settings(root=tmp_path / "root", images=images)


@pytest.fixture
def assigned() -> Callable[..., list[str]]:
    """Give the assignments of a run on a cluster, with changes; None takes one out."""

    def assigned(**changes: str | None) -> list[str]:
        values = {**CLUSTER, **changes}
        return [f"{name}={value}" for name, value in values.items() if value is not None]

    return assigned
