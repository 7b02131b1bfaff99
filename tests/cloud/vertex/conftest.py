"""The target under test, and something to submit."""

import json
from dataclasses import replace

import pytest

from tests.cloud.bench.bench import Bench
from tests.cloud.bench.specs import small_spec
from tunelane_pipelines.settings.sections import GcpSettings
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
def launching(submission: Submission) -> Submission:
    """One whose task `train` launches a custom job."""
    spec = small_spec("train", "gate")
    pool = {
        "machine_spec": {"machine_type": "n2-standard-8"},
        "replica_count": 1,
        "container_spec": {"image_uri": "i:1"},
    }
    payload = {"display_name": "train", "job_spec": {"worker_pool_specs": [pool]}}
    spec["deploymentSpec"]["executors"]["exec-train"]["container"] = {
        "image": "gcr.io/ml-pipeline/google-cloud-pipeline-components:2.22.0",
        "command": ["python3", "-u", "-m", "google_cloud_pipeline_components.container.v1.custom_job.launcher"],
        "args": [
            *("--type", "CustomJob"),
            *("--payload", json.dumps(payload)),
            *("--project", "{{$.pipeline_google_cloud_project_id}}"),
            *("--location", "{{$.pipeline_google_cloud_location}}"),
            *("--gcp_resources", "{{$.outputs.parameters['gcp_resources'].output_file}}"),
        ],
    }
    outputs = {"parameters": {"gcp_resources": {"parameterType": "STRING"}}}
    spec["components"]["comp-train"]["outputDefinitions"] = outputs
    return replace(submission, spec=spec)


@pytest.fixture
def submission() -> Submission:
    return Submission(
        run_id="small-20260101-030000-ab12",
        pipeline="small",
        display_name="Small",
        spec=small_spec("train", "gate"),
        parameters={"n": 3},
    )
