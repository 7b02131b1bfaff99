"""Pipelines kept in Artifact Registry."""

import json
from dataclasses import replace

import pytest

from tests.cloud.bench.bench import Bench
from tests.cloud.bench.registry import REPOSITORY
from tunelane_pipelines.settings.sections import GcpSettings
from tunelane_pipelines.targets.errors import NoSuchResource, NotAllowed, ServiceAway
from tunelane_pipelines.targets.target import Recurrence, Submission
from tunelane_pipelines.targets.vertex.target import VertexTarget


@pytest.fixture
def keeping(gcp: GcpSettings, bench: Bench) -> VertexTarget:
    """A target that keeps its pipelines as templates."""
    repository = f"{bench.region}-kfp.pkg.dev/{bench.project}/{REPOSITORY}"
    return VertexTarget(gcp.model_copy(update={"template_repository": repository}), bench.clock)


def test_a_template_holds_the_pipeline_that_runs(bench: Bench, keeping: VertexTarget, submission: Submission) -> None:
    keeping.submit(submission)
    [content] = bench.registry.templates.values()
    job = bench.vertex.job(submission.run_id)
    assert json.loads(content) == submission.spec == keeping.request(submission)["pipelineJob"]["pipelineSpec"]
    assert bench.registry[job.template_uri] == submission.spec


def test_the_same_pipeline_is_uploaded_once(bench: Bench, keeping: VertexTarget, submission: Submission) -> None:
    keeping.submit(submission)
    keeping.submit(replace(submission, run_id="second", parameters={"n": 4}))
    keeping.create_schedule("nightly", submission, Recurrence("0 3 * * *"))
    assert len(bench.called("registry.upload")) == 1
    keeping.submit(replace(submission, run_id="third", spec={**submission.spec, "sdkVersion": "kfp-2.17.1"}))
    assert len(bench.called("registry.upload")) == 2


def test_a_run_whose_upload_was_lost_starts_the_next_time(
    bench: Bench, keeping: VertexTarget, submission: Submission
) -> None:
    bench.faults.add("registry.upload", "reply-lost")
    with pytest.raises(ServiceAway):
        keeping.submit(submission)
    assert bench.vertex.jobs() == []
    keeping.submit(submission)
    assert len(bench.called("registry.upload")) == 1


def test_a_repository_that_is_not_there_is_named(gcp: GcpSettings, bench: Bench, submission: Submission) -> None:
    repository = f"{bench.region}-kfp.pkg.dev/{bench.project}/elsewhere"
    with pytest.raises(NoSuchResource, match="elsewhere"):
        VertexTarget(gcp.model_copy(update={"template_repository": repository})).submit(submission)


def test_a_registry_that_may_not_be_written_names_the_role(
    bench: Bench, keeping: VertexTarget, submission: Submission
) -> None:
    bench.faults.add("registry.upload", "denied")
    with pytest.raises(NotAllowed, match="missing"):
        keeping.submit(submission)
