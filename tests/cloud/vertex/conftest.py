"""The target under test, and something to submit."""

import pytest

from tests.cloud.bench.bench import Bench
from tests.cloud.bench.pipeline_jobs import small_spec
from tunelane_pipelines.settings import GcpSettings
from tunelane_pipelines.targets.target import Submission
from tunelane_pipelines.targets.vertex.target import VertexTarget


@pytest.fixture
def gcp(bench: Bench) -> GcpSettings:
    return GcpSettings(
        project=bench.project,
        region=bench.region,
        pipeline_root=f"gs://{bench.bucket}/runs",
        service_account=bench.service_account,
    )


@pytest.fixture
def target(gcp: GcpSettings, bench: Bench) -> VertexTarget:
    return VertexTarget(gcp, bench.clock)


@pytest.fixture
def submission() -> Submission:
    return Submission(
        run_id="small-20260101-030000-ab12",
        pipeline="small",
        display_name="Small",
        spec=small_spec("train", "gate"),
        parameters={"n": 3},
    )
