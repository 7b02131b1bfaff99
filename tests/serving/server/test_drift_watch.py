"""What the watch says of the model that serves."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection
from starlette.testclient import TestClient

from tunelane_serving.database.database import Database
from tunelane_serving.deployment import ActiveRevision, write_active
from tunelane_serving.package import Histogram, read_manifest, seal
from tunelane_serving.server.drift_watch import DriftWatch

Build = Callable[..., Path]


class _Failing(Database):
    """Fails, where asked to, as no database should."""

    fails = False

    @contextmanager
    def transaction(self, **options: Any) -> Iterator[Connection]:
        if self.fails:
            raise RuntimeError("of no known kind")
        with super().transaction(**options) as connection:
            yield connection


def _with_reference(package: Path) -> Path:
    reference = (Histogram("label", (900, 100), categories=("negative", "positive")),)
    seal(package, msgspec.structs.replace(read_manifest(package), reference=reference))
    return package


def test_drift_of_a_model_that_was_rolled_back_is_not_said_of_the_one_that_serves(
    make_client: Callable[..., TestClient], tiny_package: Build, deploy: Callable[..., str], tmp_path: Path
) -> None:
    deployment = tmp_path / "deployment"
    good = deploy(deployment, tiny_package(tmp_path / "good"), "1")
    deploy(deployment, _with_reference(tiny_package(tmp_path / "drifting", bias=(0.5, 0.0))), "2")
    client: Any = make_client("--deployment", deployment)
    assert client.post("/batch_predict", json={"texts": ["good good good"] * 120}).is_success
    client.services.recorder.close(timeout_s=20)
    client.services.drift_watch.look()
    assert client.get("/health/ml").json()["drift"] == "drift"
    assert 'tunelane_drift_psi{name="label"}' in client.get("/metrics").text

    write_active(deployment, ActiveRevision("sentiment", "1", good))
    client.services.source.poll()
    assert client.get("/health").json()["digest"] == good
    health = client.get("/health/ml").json()
    assert (health["drift"], health["reasons"]) == ("unknown", [])
    assert "tunelane_drift_psi{" not in client.get("/metrics").text
    client.services.drift_watch.look()
    assert client.services.drift_watch.last.digest == good


def test_a_failure_of_any_kind_is_logged_and_what_was_measured_stays(
    make_client: Callable[..., TestClient], tiny_package: Build, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = make_client("--package", tiny_package(tmp_path / "reviews")).services.source  # type: ignore[attr-defined]
    with closing(_Failing(f"sqlite:///{tmp_path / 'other.db'}")) as database:
        watch = DriftWatch(database, source)
        watch.look()
        measured = watch.last
        assert measured is not None
        database.fails = True
        watch.look()
        assert "drift was not measured: of no known kind" in caplog.text
        assert watch.last is measured
