"""Schedules on each of the two services, and something for them to run."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud.bench.specs import small_spec
from tests.cloud.kubeflow.installation import FakeKubeflow
from tests.cloud.schedules.clusters import KEY, Cluster, Kubeflow, Vertex
from tunelane_pipelines.scheduling.journalled import Schedules
from tunelane_pipelines.scheduling.service import ServiceKeeper
from tunelane_pipelines.scheduling.store import ScheduleStore
from tunelane_pipelines.targets.target import Submission


@pytest.fixture(params=["vertex", "kubeflow"])
def cluster(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Each test runs on both."""
    if request.param == "vertex":
        vertex = Vertex(request.getfixturevalue("bench"))
        vertex.reset()
        yield vertex
        return
    monkeypatch.setenv("HOME", str(tmp_path))
    with FakeKubeflow() as fake:
        yield Kubeflow(fake)


@pytest.fixture
def submission() -> Submission:
    return Submission(KEY, "small", "Small", small_spec("train", "gate"), {"n": 3})


@pytest.fixture
def schedules(cluster: Cluster, tmp_path: Path) -> Schedules:
    store = ScheduleStore(tmp_path / "root")
    return Schedules(store, ServiceKeeper(cluster.target, store), cluster.clock)
